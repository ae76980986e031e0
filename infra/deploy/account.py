"""Parameters that the account decides: the concurrency that it has left, and the role for API Gateway's logs."""

from botocore.exceptions import ClientError

from refused import Refused

# Parameters that bound how many invocations an event source mapping has side by side.
MAPPED = ("FanoutMaximumConcurrency", "ShardsMaximumConcurrency", "RelayConcurrency")
# The bound of a mapping without a parameter: that of RelayFailureQueue, and those of presence and ephemeral where the
# stack has them.
FIXED = 2
RESERVED = (*MAPPED, "MessageConcurrency", "SessionConcurrency", "AuthorizerConcurrency")
# Concurrency of an account that Lambda keeps unreserved.
UNRESERVED = 100
# The smallest bound that a mapping takes.
LEAST = 2


def extras(wanted: dict[str, str]) -> int:
    """The number of functions among presence and ephemeral that the stack has."""
    counts_members = wanted["PresenceRooms"] or wanted["LifecycleRooms"]
    return bool(counts_members) + (wanted["EphemeralMaxMembers"] != "0")


def choose_concurrency(session, wanted: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """The mappings' limits for a new stack: half of the free concurrency at most. Clients wait for the other functions.

    A mapping that starts more than there is has its batches throttled. Each throttling counts as a receive, and after
    enough of them good messages become dead letters.

    For example 900 are free, and the stack has neither presence nor ephemeral: the mappings share 450 - 2.
    """
    free = session.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    if wanted["ReserveConcurrency"] == "true":
        refuse_reservation(free, wanted)
        return {}
    open_ones = [name for name in MAPPED if name not in given]
    left = free // 2 - FIXED * (1 + extras(wanted)) - sum(int(given[name]) for name in MAPPED if name in given)
    asked = sum(int(wanted[name]) for name in open_ones)
    if asked <= left:
        return {}
    return {name: str(max(LEAST, int(wanted[name]) * max(0, left) // asked)) for name in open_ones}


def check_reservation(session, wanted: dict[str, str], before: dict[str, str]) -> None:
    """The check for an update: concurrency that the stack has reserved already is free for it."""
    if wanted["ReserveConcurrency"] != "true":
        return
    own = reserved(before) if before.get("ReserveConcurrency") == "true" else 0
    free = session.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    refuse_reservation(free + own, wanted)


def reserved(values: dict[str, str]) -> int:
    """The concurrency that a stack with these parameters reserves. A stack of an older template lacks some of them."""
    named = sum(int(values.get(name, 0)) for name in RESERVED)
    has_extras = "EphemeralMaxMembers" in values
    return named + (FIXED * extras(values) if has_extras else 0)


def refuse_reservation(free: int, wanted: dict[str, str]) -> None:
    asked = reserved(wanted)
    if asked + UNRESERVED > free:
        raise Refused(
            f"the functions would reserve a concurrency of {asked}, and the account has {max(0, free - UNRESERVED)} "
            f"left to reserve. Lower {', '.join(RESERVED)}, ask AWS for a higher quota, or leave ReserveConcurrency out"
        )


def choose_log_role(session, wanted: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """Has the stack make the role under which API Gateway writes logs where the account and region have none."""
    if wanted["AccessLogs"] != "true" or wanted["CreateApiGatewayLogRole"] == "true" or has_log_role(session):
        return {}
    if "CreateApiGatewayLogRole" in given:
        raise Refused(
            "API Gateway has no role for writing logs in this account and region, and would refuse the access log. "
            "Leave CreateApiGatewayLogRole out, and the stack makes one, or do without: AccessLogs=false"
        )
    return {"CreateApiGatewayLogRole": "true"}


def has_log_role(session) -> bool:
    arn = session.client("apigateway").get_account().get("cloudwatchRoleArn")
    if not arn:
        return False
    try:
        session.client("iam").get_role(RoleName=arn.rsplit("/", 1)[1])
    except ClientError as error:
        # The setting outlives its role, for example a role that a failed deployment made.
        return error.response["Error"]["Code"] != "NoSuchEntity"
    return True
