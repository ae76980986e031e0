"""Checks of parameters that need no account: a function that does not start is found here and not in its logs."""

import json
import re
import shlex

from refused import Refused

ARNS = ("AuthSecretArn", "KmsKeyArn", "CertificateArn")


def assignments(text: str, variable: str) -> dict[str, str]:
    """`Name=value Other='with spaces'`, quoted as in a shell, where nothing else has a meaning."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Refused(f"{variable}: {error}") from None
    values = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not (name and separator):
            raise Refused(f"{variable}: {word!r} is not NAME=VALUE (a value with spaces or quotes is quoted once more)")
        if name in values:
            raise Refused(f"{variable}: {name} is there twice")
        values[name] = value
    return values


def refuse_unknown(definitions: dict[str, dict], given: dict[str, str]) -> None:
    unknown = sorted(set(given) - set(definitions))
    if unknown:
        raise Refused(
            f"no such parameter: {', '.join(unknown)}; infra/template.yaml has {', '.join(sorted(definitions))}"
        )


def check(definitions: dict[str, dict], wanted: dict[str, str], region: str, on_aws: bool) -> None:
    """Refuses values that CloudFormation or a function would refuse, all of them at once."""
    problems = [problem for name, value in wanted.items() for problem in of_one(name, value, definitions[name])]
    if not problems:
        problems = [
            *of_times(wanted),
            *of_tokens(wanted),
            *of_domain(wanted),
            *of_regions(wanted, region),
            *of_deployment(wanted),
        ]
        if on_aws:
            problems += of_emulator(wanted)
    if problems:
        raise Refused("\n       ".join(problems))


def of_one(name: str, value: str, definition: dict):
    if "AllowedValues" in definition:
        allowed = [str(allowed) for allowed in definition["AllowedValues"]]
        if value not in allowed:
            yield f"{name} is {value!r}, and must be one of {', '.join(repr(text) for text in allowed)}"
    elif definition["Type"] == "Number":
        # Narrower than CloudFormation, which takes 1e2 and hands it on to a function that does not.
        if not (value.isascii() and value.isdecimal()):
            yield f"{name} is {value!r}, and must be a whole number in digits"
        elif int(value) < definition.get("MinValue", int(value)):
            yield f"{name} is {value}, and must be {definition['MinValue']} at least"
        elif int(value) > definition.get("MaxValue", int(value)):
            yield f"{name} is {value}, and must be {definition['MaxValue']} at most"
    elif "AllowedPattern" in definition and not re.fullmatch(definition["AllowedPattern"], value):
        rule = definition.get("ConstraintDescription", f"must match {definition['AllowedPattern']}")
        yield f"{name} is {value!r}: {rule}"


def of_times(wanted: dict[str, str]):
    if int(wanted["SyncMinSeconds"]) > int(wanted["SyncMaxSeconds"]):
        yield f"SyncMinSeconds ({wanted['SyncMinSeconds']}) is above SyncMaxSeconds ({wanted['SyncMaxSeconds']})"
    counts_members = wanted["PresenceRooms"] or wanted["LifecycleRooms"]
    if counts_members and 2 * int(wanted["SyncMinSeconds"]) > int(wanted["PresenceLeaseSeconds"]):
        yield (
            f"SyncMinSeconds ({wanted['SyncMinSeconds']}) is above half of PresenceLeaseSeconds "
            f"({wanted['PresenceLeaseSeconds']}): members would be taken for gone between two syncs"
        )
    seconds = int(wanted["FanoutTimeout"])
    timeout = 1000 * seconds
    reserve, post = int(wanted["FanoutDeadlineReserveMs"]), int(wanted["FanoutPostTimeoutMs"])
    if 2 * reserve > timeout:
        yield (
            f"FanoutDeadlineReserveMs ({reserve}) is more than half of FanoutTimeout ({seconds} s): no more would count"
        )
    elif post > timeout - reserve:
        yield (
            f"FanoutPostTimeoutMs ({post}) is longer than an invocation posts: FanoutTimeout ({seconds} s) "
            f"less FanoutDeadlineReserveMs ({reserve})"
        )


def of_tokens(wanted: dict[str, str]):
    """Values with which the authorizer would not start."""
    missing = [name for name in ("AuthIssuer", "AuthAudience") if not wanted[name]]
    if wanted["AuthJwksUrl"] and missing:
        yield f"AuthJwksUrl needs {', '.join(missing)}: tokens of the issuer's other applications would be let in"
    try:
        rooms = json.loads(wanted["AuthDefaultRooms"])
    except ValueError as error:
        yield f"AuthDefaultRooms is no JSON (in PARAMS it must be quoted once more): {error}"
    else:
        if not isinstance(rooms, dict):
            yield "AuthDefaultRooms is no JSON object"


def of_domain(wanted: dict[str, str]):
    if bool(wanted["DomainName"]) != bool(wanted["CertificateArn"]):
        yield "DomainName and CertificateArn go together"
    if wanted["HostedZoneId"] and not wanted["DomainName"]:
        yield "HostedZoneId is for the record of DomainName, which is empty"


def of_regions(wanted: dict[str, str], region: str):
    for name in ARNS:
        if wanted[name] and wanted[name].split(":")[3] != region:
            yield f"{name} is of {wanted[name].split(':')[3]}, the stack of {region}"


def of_deployment(wanted: dict[str, str]):
    if wanted["CreateApiGatewayLogRole"] == "true" and wanted["AccessLogs"] != "true":
        yield "CreateApiGatewayLogRole=true is for the access log, which AccessLogs=false turns off"


def of_emulator(wanted: dict[str, str]):
    for name in ("RouteResponses", "RequireTls"):
        if wanted[name] == "false":
            yield f"{name}=false is for the local stack alone: on AWS " + (
                "no client would get a reply" if name == "RouteResponses" else "the queues would take calls without TLS"
            )
    if wanted["ConnectionsEndpoint"].startswith("http:"):
        yield "ConnectionsEndpoint is not https, which API Gateway does not offer"
