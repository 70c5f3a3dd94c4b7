"""boto3: buckets, by a stub of its own."""

import boto3
from botocore.stub import Stubber

from bg_charm_service import Charm


class Boto3Stub(Charm):
    """Lists buckets."""

    buckets: list[str] = []

    def bg_updater(self, event: dict) -> None:
        client = boto3.client(
            "s3", region_name="eu-central-1", aws_access_key_id="id", aws_secret_access_key="key"
        )
        with Stubber(client) as stub:
            stub.add_response("list_buckets", {"Buckets": [{"Name": "first"}]})
            self.buckets = [one["Name"] for one in client.list_buckets()["Buckets"]]
