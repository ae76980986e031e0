"""The emulator, MiniStack, with the metrics and alarms of CloudWatch. The local stack runs this in its place.

By itself MiniStack keeps what PutMetricData says and little else. CloudWatch also

- makes metrics of log lines in the Embedded Metric Format, which is how the functions write theirs;
- has numbers of every queue, and of every invocation (MiniStack counts those of a caller, not those of a mapping);
- looks only at an alarm's own dimensions and periods, takes sums over several metrics, and does with a period
  without data what the alarm says.

All of it happens inside the emulator's process: no calls, so that a stack whose alarms nobody looks at pays nothing for
them. It reaches into MiniStack, whose version is pinned, and `main` says at once when something there has another name.
"""

import json
import logging
import os
import re
import threading
import time

from ministack import app
from ministack.services import cloudwatch, cloudwatch_logs, lambda_svc, sqs
from ministack.services.cloudformation import provisioners

# Seconds of an alarm's minute: tests make it short.
MINUTE_SECONDS = float(os.environ.get("ALARM_MINUTE_SECONDS", "60"))
# Time between two looks at queues and alarms: the shortest period has at least four.
TICK_SECONDS = min(1.0, MINUTE_SECONDS / 4)
# Age at which metrics are forgotten, so that a stack that runs for days does not grow.
KEPT_SECONDS = 3600.0

COMPARISONS = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
# The metric math that the template's alarms are written in. A series without a value in a period is left out of it.
EXPRESSION = re.compile(r"(?P<function>SUM|MAX)\(\[(?P<parts>\w+(?: / \d+)?(?:, *\w+(?: / \d+)?)*)\]\)")
FUNCTIONS = {"SUM": sum, "MAX": max}

logger = logging.getLogger("metrics")


# ---------------------------------------------------------------- metrics


def measure_queues() -> None:
    now = time.time()
    for queue in list(sqs._queues.values()):
        sent = [(message["sent_at"], message["visible_at"] <= now) for message in list(queue["messages"])]
        dimensions = {"QueueName": queue["name"]}
        visible = sum(is_visible for _, is_visible in sent)
        oldest = now - min((at for at, _ in sent), default=now)
        for name, value, unit in (
            ("ApproximateNumberOfMessagesVisible", visible, "Count"),
            ("ApproximateNumberOfMessagesNotVisible", len(sent) - visible, "Count"),
            ("ApproximateAgeOfOldestMessage", oldest, "Seconds"),
        ):
            cloudwatch.record_metric("AWS/SQS", name, value, unit, dimensions)


def count_invocations() -> None:
    """Counts in the dispatch, through which every invocation passes, and at the slot, which it needs before."""
    dispatch, acquire = lambda_svc._execute_function_dispatch, lambda_svc._acquire_execution_slot

    def record(config: dict, name: str, value: float, unit: str = "Count") -> None:
        cloudwatch.record_metric(
            "AWS/Lambda", name, value, unit, {"FunctionName": config.get("FunctionName", "unknown")}
        )

    def counted(func, config, event, request_id, started):
        result = dispatch(func, config, event, request_id, started)
        record(config, "Invocations", 1)
        record(config, "Errors", int(bool(result.get("error"))))
        record(config, "Duration", (time.time() - started) * 1000, "Milliseconds")
        return result

    def throttled(func, config):
        slot, limit = acquire(func, config)
        record(config, "Throttles", int(slot is None))
        return slot, limit

    replace(lambda_svc, "_execute_function_dispatch", counted)
    replace(lambda_svc, "_acquire_execution_slot", throttled)
    # MiniStack's own numbers leave out the invocations of mappings.
    replace(lambda_svc, "_emit_lambda_metrics", lambda *_, **__: None)


def read_log_lines() -> None:
    append = cloudwatch_logs._append_log_events

    def read(stream, events):
        append(stream, events)
        for event in events:
            if '"_aws"' in event["message"]:
                publish(event["message"], event["timestamp"] / 1000)

    replace(cloudwatch_logs, "_append_log_events", read)


def publish(line: str, timestamp: float) -> None:
    """Stores the metrics of a line in the Embedded Metric Format. Other lines are passed over, as by CloudWatch."""
    try:
        values = json.loads(line)
        timestamp = values["_aws"].get("Timestamp", timestamp * 1000) / 1000
        for directive in values["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(values[name]) for name in names}
                for metric in directive["Metrics"]:
                    if metric["Name"] in values:
                        points = samples(values[metric["Name"]])
                        store(
                            directive["Namespace"],
                            metric["Name"],
                            dimensions,
                            timestamp,
                            metric.get("Unit", "None"),
                            points,
                        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        logger.warning("no metrics can be read from %s: %r", line, error)


def samples(value) -> list[tuple[float, float]]:
    """Values with counts. The line has a number, a list of numbers, or values and counts."""
    if isinstance(value, dict):
        return [(float(one), float(count)) for one, count in zip(value["Values"], value["Counts"], strict=True)]
    return [(float(one), 1.0) for one in (value if isinstance(value, list) else [value])]


def store(namespace: str, name: str, dimensions: dict, timestamp: float, unit: str, points: list) -> None:
    values, counts = [value for value, _ in points], [count for _, count in points]
    cloudwatch._store_datum(namespace, name, dimensions, timestamp, unit, None, values, counts, None)


def forget_old_metrics() -> None:
    """Removes from the lists themselves, because another thread may be adding to them."""
    oldest = time.time() - KEPT_SECONDS
    for points in list(cloudwatch._metrics.values()):
        while points and points[0]["Timestamp"] < oldest:
            del points[0]


# ---------------------------------------------------------------- alarms


def alarm_with_expression(name: str, properties: dict) -> dict:
    """An alarm on several metrics, which MiniStack can hold but not make."""
    metrics = properties.get("Metrics")
    if not metrics:
        return single_metric_alarm(name, properties)
    expressions = [metric["Expression"] for metric in metrics if "Expression" in metric]
    if len(expressions) != 1 or not EXPRESSION.fullmatch(expressions[0]):
        raise ValueError(f"the local stack understands one SUM([...]) or MAX([...]) in an alarm, not {expressions}")
    metrics = [typed(metric) for metric in metrics]
    single = next(metric["MetricStat"] for metric in metrics if "MetricStat" in metric)
    stand_in = {"MetricName": "-", "Namespace": "-", "Period": single["Period"], "Metrics": None}
    alarm = single_metric_alarm(name, {**properties, **stand_in})
    for absent in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period"):
        alarm[absent] = None
    return {**alarm, "Dimensions": [], "Metrics": metrics}


single_metric_alarm = provisioners._cw_metric_alarm_record


def typed(metric: dict) -> dict:
    """A metric whose numbers and booleans are such: in a template they may be texts."""
    metric = {**metric, "ReturnData": str(metric.get("ReturnData", True)).lower() == "true"}
    if statistic := metric.get("MetricStat"):
        metric["MetricStat"] = {**statistic, "Period": int(statistic["Period"])}
    return metric


def periods(alarm: dict) -> list[float | None]:
    """The alarm's value in each of its last whole periods, the newest first; None = no data."""
    count = alarm["EvaluationPeriods"]
    if metrics := alarm.get("Metrics"):
        series = {
            metric["Id"]: metric_periods(statistic["Metric"], statistic["Stat"], statistic["Period"], count)
            for metric in metrics
            if (statistic := metric.get("MetricStat"))
        }
        expression = next(EXPRESSION.fullmatch(metric["Expression"]) for metric in metrics if "Expression" in metric)
        wanted = [scaled(part, series) for part in expression["parts"].split(",")]
        combine = FUNCTIONS[expression["function"]]
        known = [[value for value in values if value is not None] for values in zip(*wanted, strict=True)]
        return [combine(values) if values else None for values in known]
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
    return metric_periods(alarm, statistic, alarm["Period"], count)


def scaled(part: str, series: dict[str, list]) -> list[float | None]:
    """A metric of an expression, such as `age` or `age / 1000`."""
    name, _, divisor = part.strip().partition(" / ")
    return [value if value is None else value / int(divisor or 1) for value in series[name]]


def metric_periods(metric: dict, statistic: str, period: int, count: int) -> list[float | None]:
    seconds = period * MINUTE_SECONDS / 60
    end = time.time() // seconds * seconds
    start = end - count * seconds
    dimensions = cloudwatch._dims_from_list(metric.get("Dimensions") or [])
    key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions))
    buckets: list[list[dict]] = [[] for _ in range(count)]
    for point in list(cloudwatch._metrics.get(key) or []):
        if start <= point["Timestamp"] < end:
            buckets[min(int((end - point["Timestamp"]) / seconds), count - 1)].append(point)
    return [
        cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points) if points else None
        for points in buckets
    ]


def evaluate(alarm: dict) -> None:
    values = periods(alarm)
    treatment = alarm.get("TreatMissingData") or "missing"
    known = [value for value in values if value is not None]
    if not known and treatment in ("missing", "ignore"):
        if treatment == "missing":
            change(alarm, "INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received")
        return
    exceeds = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = sum(
        treatment == "breaching" if value is None else exceeds(value, alarm["Threshold"]) for value in values
    )
    is_alarm = breaching >= (alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"])
    crossed = f"{breaching} of {len(values)} datapoints {known} crossed the threshold {alarm['Threshold']}"
    change(alarm, "ALARM" if is_alarm else "OK", f"Threshold Crossed: {crossed}" if is_alarm else f"OK: {crossed}")


def change(alarm: dict, state: str, reason: str) -> None:
    before = alarm["StateValue"]
    if state == before:
        return
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)


# ---------------------------------------------------------------- the emulator with both


def tick() -> None:
    while True:
        time.sleep(TICK_SECONDS)
        try:
            measure_queues()
            forget_old_metrics()
        except Exception:
            # The emulator's tables change while they are read; the next tick is a second away.
            logger.exception("the queues were not measured")
        for alarm in list(cloudwatch._alarms.values()):
            try:
                evaluate(alarm)
            except Exception:
                logger.exception("%s was not evaluated", alarm["AlarmName"])


def replace(module, name: str, by) -> None:
    if not hasattr(module, name):
        raise SystemExit(
            f"error: {module.__name__} has no {name}: infra/local/metrics.py is for another version of MiniStack"
        )
    setattr(module, name, by)


def main() -> None:
    count_invocations()
    read_log_lines()
    replace(provisioners, "_cw_metric_alarm_record", alarm_with_expression)
    # `tick` alone evaluates alarms and cuts metrics to length.
    replace(cloudwatch, "_evaluate_alarm", lambda alarm: None)
    replace(cloudwatch, "_evict_old_metrics", lambda: None)
    threading.Thread(target=tick, name="metrics", daemon=True).start()
    app.main()


if __name__ == "__main__":
    main()
