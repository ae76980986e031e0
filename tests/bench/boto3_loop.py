"""A handler as it is mostly written with the AWS SDK for Python: one post_to_connection after the other.

python boto3_loop.py ENDPOINT SECONDS
"""

import json
import sys
import time

import boto3

ROOM = 1000
WARM_UP = 0.3


def post_for(client, seconds):
    started, cpu = time.perf_counter(), time.process_time()
    posts = 0
    while time.perf_counter() - started < seconds:
        client.post_to_connection(ConnectionId=f"00L{posts % ROOM:07}oAMFcg=", Data=b"x" * 200)
        posts += 1
    return {
        "posts": posts,
        "seconds": time.perf_counter() - started,
        "cpuSeconds": time.process_time() - cpu,
    }


def main():
    endpoint, seconds = sys.argv[1:]
    client = boto3.client("apigatewaymanagementapi", endpoint_url=endpoint, region_name="us-east-1")
    post_for(client, WARM_UP)
    print(json.dumps(post_for(client, float(seconds))))


main()
