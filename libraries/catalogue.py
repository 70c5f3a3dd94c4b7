"""Which charms are tried, in the order of the table, and what each says about its library.

A charm is one file of `charms/`. Its docstring begins with the library, as PyPI names it, and what
it is used for; what one should know of it inside the walls follows.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

CHARMS = Path(__file__).parent / "charms"

#: By what they are for; the first ten also run in the systemd unit.
GROUPS = {
    "Data and numbers": (
        *("pandas_table", "pandas_parquet", "polars_table", "duckdb_query", "numpy_linear"),
        *("scipy_minimum", "sklearn_forest", "sklearn_jobs", "xgboost_trees", "numba_loop"),
        *("pyarrow_compute", "dask_array", "numexpr_expression", "sympy_solve", "networkx_path"),
        *("shapely_area", "numpy_float_stored", "pandas_time_stored"),
    ),
    "Pictures and documents": (
        *("matplotlib_plot", "matplotlib_pyplot", "pillow_thumbnail", "opencv_edges"),
        *("openpyxl_sheet", "openpyxl_rows", "docx_letter", "reportlab_pdf", "pypdf_merge"),
        *("jinja2_template", "markdown_page"),
    ),
    "HTTP, HTML and feeds": (
        *("requests_json", "requests_retries", "httpx_async", "aiohttp_many", "urllib_page"),
        *(
            "urllib3_future_page",
            "curl_cffi_page",
            "lxml_xpath",
            "bs4_links",
            "selectolax_css",
            "feedparser_feed",
        ),
    ),
    "Mail, calendars and services": (
        *("imapclient_inbox", "smtplib_mail", "icalendar_events", "recurring_events"),
        *("google_calendar", "gcsa_event", "boto3_buckets", "boto3_stub"),
        "slack_message",
    ),
    "Databases": ("sqlalchemy_rows", "redis_counter"),
    "Models and language": (
        *("openai_chat", "openai_sync", "anthropic_message", "onnxruntime_model"),
        *("tokenizers_words", "tiktoken_tokens", "spacy_words", "nltk_stems"),
    ),
    "Others": (
        *("psutil_machine", "rich_table", "tqdm_bar", "structlog_lines", "tenacity_retry"),
        *("apscheduler_job", "schedule_job", "croniter_times", "pytz_zones", "dateutil_times"),
        *("trio_nursery", "anyio_group", "nested_loop", "gevent_pool", "gevent_patched"),
        *("joblib_threads", "cffi_sort", "cryptography_seal"),
    ),
}

IN_THE_UNIT = GROUPS["Data and numbers"][:10]

#: Those that look how many processors there are when they are loaded: tried on more of these.
NUMERIC = (
    *("numpy_linear", "scipy_minimum", "sklearn_forest", "xgboost_trees", "pandas_table"),
    *("pyarrow_compute", "polars_table", "duckdb_query", "numba_loop", "numexpr_expression"),
    *("dask_array", "opencv_edges", "onnxruntime_model"),
)

#: Imports pandas, and is asked what a poll of it costs.
POLLED = "pandas_poll"

#: Stands for the cause of what is refused when it is added.
ADD = "add"

#: What cannot be done, by the cause of the failure and what its error has to say.
REFUSED = {
    "playwright_page": ("forbidden", "starting programs is not possible here"),
    "selenium_page": ("forbidden", "starting programs is not possible here"),
    "sh_list": ("forbidden", "starting programs is not possible here"),
    "loguru_queue": ("forbidden", "multiprocessing needs /dev/shm"),
    "boto3_future": (ADD, "urllib3 and urllib3-future both bring the module urllib3"),
    "requests_port": ("forbidden", "port 8299 is not open to it"),
    "smtplib_port": ("forbidden", "port 587 is not open to it"),
    "psycopg_port": ("forbidden", "port 5432 is not open to it"),
    "asyncpg_port": ("forbidden", "port 5432 is not open to it"),
    "redis_port": ("forbidden", "port 6379 is not open to it"),
    "pymongo_port": ("forbidden", "port 27017 is not open to it"),
    "dnspython_udp": ("forbidden", "UDP"),
    "psycopg_nobody": ("error", "Connection refused"),
    "asyncpg_nobody": ("down", "Connect call failed"),
    "redis_nobody": ("down", "Connection refused"),
    "websockets_client": ("error", "HTTP 404"),
    "yt_dlp_page": ("error", "Unsupported URL"),
    "nltk_data": ("error", "punkt_tab"),
    "aiohttp_flood": ("files", "it may have 128 files and connections open"),
    "threads_many": ("threads", "its limit is 64"),
    "numpy_memory": ("memory", "it may use 512M of memory"),
    "pandas_memory": ("memory", "it may use 512M of memory"),
    "pyarrow_memory": ("memory", "it may use 512M of memory"),
    "polars_memory": ("memory", "512"),
    "numpy_int_stored": ("state", ".item()"),
    "numpy_field": (ADD, "Unable to generate pydantic-core schema"),
    "numpy_array_stored": ("state", ".tolist()"),
}

#: Those that leave threads of Python's own, or the process changed for good: each run costs a
#: worker. Of all others it stays.
COST_A_WORKER = {"gevent_patched", "nested_loop", "tqdm_bar", "urllib3_future_page"}

#: Python's own library stands under this name.
PYTHON = "Python"


@dataclass(frozen=True)
class LibraryCharm:
    """A charm, the library that it uses, what for, and what to know.

    `refused` is what it has to fail by, cause and words; None where it has to work.
    """

    name: str
    library: str
    use: str
    to_know: str
    source: str
    refused: tuple[str, str] | None = None

    @property
    def costs_a_worker(self) -> bool:
        """Whether its worker has to be replaced after each run."""
        return self.name in COST_A_WORKER


def read_charm(name: str) -> LibraryCharm:
    """Read a charm's file."""
    source = (CHARMS / f"{name}.py").read_text()
    head, _, to_know = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
    library, _, use = head.partition(": ")
    known = " ".join(to_know.split())
    return LibraryCharm(name, library, use.rstrip("."), known, source, REFUSED.get(name))
