"""Does what the AWS CLI does with a command line, without a start of a second and a half for each.

A line of standard input is a line for the shell, as JSON. The answer is a line of JSON: {"answers": [...]} or
{"error": ...}. The shell takes the line apart, so quotes and $(...) are its affair. Names and types of options come
from the services' models, so an option that does not exist is an error here as well.
"""

import json
import subprocess
import sys

import boto3
from botocore import xform_name

EXPAND = 'aws() { printf "%s\\0" "$@"; printf "\\n\\0"; }; '
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
CLIENTS = {}


def calls(line: str):
    """The words of each `aws` in the line."""
    shell = subprocess.run(["bash", "-euc", EXPAND + line], capture_output=True, check=True, text=True)
    words = []
    for word in shell.stdout.split("\0")[:-1]:
        if word == "\n":
            yield words
            words = []
        else:
            words.append(word)


def run(words: list[str]):
    options = {}
    while words[0].startswith("--"):
        options[words[0]], words = words[1], words[2:]
    service, operation, *rest = words
    client = client_of(service, options["--region"], options["--endpoint-url"])
    method = operation.replace("-", "_")
    name = client.meta.method_to_api_mapping[method]
    shape = client.meta.service_model.operation_model(name).input_shape
    members = {"--" + xform_name(member).replace("_", "-"): member for member in shape.members}
    given = {}
    option, values = None, []
    for word in [*rest, None]:
        if word is None or word.startswith("--"):
            if option is not None:
                is_no = option.startswith("--no-") and option not in members
                member = members[option.replace("--no-", "--", 1) if is_no else option]
                given[member] = False if is_no else value_of(shape.members[member], values)
            option, values = word, []
        else:
            values.append(word)
    answer = getattr(client, method)(**given)
    answer.pop("ResponseMetadata", None)
    return answer


def client_of(service: str, region: str, endpoint: str):
    key = (service, region, endpoint)
    if key not in CLIENTS:
        CLIENTS[key] = boto3.client(service, region_name=region, endpoint_url=endpoint, **CREDENTIALS)
    return CLIENTS[key]


def value_of(shape, words: list[str]):
    first = words[0] if words else ""
    if shape.type_name == "boolean":
        return first != "false"
    if shape.type_name == "list":
        return json.loads(first) if first.startswith("[") else [value_of(shape.member, [word]) for word in words]
    if shape.type_name in ("structure", "map"):
        if first.startswith("{"):
            return json.loads(first)
        pairs = (pair.split("=", 1) for pair in first.split(","))
        of = (lambda _: shape.value) if shape.type_name == "map" else shape.members.get
        return {key: value_of(of(key), [value]) for key, value in pairs}
    if shape.type_name in ("integer", "long"):
        return int(first)
    if shape.type_name in ("double", "float"):
        return float(first)
    return first


for asked in sys.stdin:
    try:
        reply = {"answers": [run(words) for words in calls(json.loads(asked))]}
    except subprocess.CalledProcessError as error:
        reply = {"error": error.stderr}
    except Exception as error:  # The test that asked reports it.
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply, default=str), flush=True)
