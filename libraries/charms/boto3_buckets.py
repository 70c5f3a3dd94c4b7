"""boto3: buckets of an endpoint that speaks S3.

A new client reads its description of the service each time: keep one for a run.
"""

import boto3

from bg_charm_service import Charm


class Boto3Buckets(Charm):
    """Lists buckets."""

    url: str = ""
    buckets: list[str] = []

    def bg_updater(self, event: dict) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=f"{self.url}/s3",
            region_name="eu-central-1",
            aws_access_key_id="id",
            aws_secret_access_key="key",
        )
        self.buckets = [one["Name"] for one in client.list_buckets()["Buckets"]]
