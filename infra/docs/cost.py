#!/usr/bin/env python3
"""The tables of cost.md, worked out of prices.json (what AWS asks) and cost.json (what Laminix does).

    cost.py --check    whether the page has these tables
    cost.py --write    puts them there
    cost.py --test     tries the arithmetic on values that were worked out by hand

Each `costs` is a list of (what, dollars), so that a total can be followed to its parts.
"""
import json
import math
import pathlib
import re
import sys
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
MILLION = 1_000_000
TB = 1000  # in GB: AWS bills by 10^9 here, near enough


def load(name, key):
    entries = json.loads((HERE / name).read_text())[key]
    return types.SimpleNamespace(**{name: entry["value"] for name, entry in entries.items()}), entries


# ---- parts: all in dollars


def function(p, i, requests, ms):
    """Requests of the function that take `ms` each. Time is billed in whole milliseconds, a cold start is added."""
    seconds = (math.ceil(ms) + i.cold_start_share * i.init_ms) / 1000
    return requests * (p.lambda_request / MILLION + seconds * i.memory_mb / 1024 * p.lambda_gb_second_arm64)


def logs(p, i, requests):
    return requests * i.log_bytes / 1e9 * p.logs_ingested


def reads(p, count):
    return count * p.s3_get / MILLION


def writes(p, count):
    return count * p.s3_put / MILLION


def messages(p, count):
    return count * p.sqs_request / MILLION


def egress(p, gb):
    """Traffic of one month to the internet, by tiers."""
    tiers = [(10 * TB, p.egress_to_10_tb), (40 * TB, p.egress_to_50_tb), (100 * TB, p.egress_to_150_tb)]
    cost = 0
    for size, price in tiers:
        part = min(gb, size)
        cost += part * price
        gb -= part
    return cost + gb * p.egress_above


def total(costs):
    return sum(cost for _, cost in costs)


# ---- pulls: what one of them costs, without the traffic


def check(p, i):
    """A client that has the image asks whether the tag has moved: GET /v2/, HEAD."""
    return [
        ("function", function(p, i, 1, i.ping_ms) + function(p, i, 1, i.manifest_ms)),
        ("store, asked by the function", reads(p, i.tag_reads)),
        ("logs", logs(p, i, 2)),
    ]


def pull(p, i, head_ms=None, head_reads=None):
    """GET /v2/, HEAD by tag, GET by digest, and a redirect for the config and each layer, which the client then reads."""
    blobs = i.layers + 1
    head_ms = i.manifest_ms if head_ms is None else head_ms
    head_reads = i.tag_reads if head_reads is None else head_reads
    asked = [(1, i.ping_ms), (1, head_ms), (1, i.manifest_ms), (blobs, i.blob_ms)]
    return [
        ("function", sum(function(p, i, count, ms) for count, ms in asked)),
        ("store, asked by the function", reads(p, head_reads + i.digest_reads)),
        ("store, asked by the client", reads(p, blobs)),
        ("logs", logs(p, i, 3 + blobs)),
    ]


def combination(p, i):
    """The same, of packages that are there, in a combination that is new: HEAD composes it."""
    records = i.packages + i.base_packages
    costs = pull(p, i, i.compose_ms, i.tag_reads + records)
    return [*costs, ("store, writes", writes(p, i.compose_writes))]


def waiting(p, i):
    """The same, of packages that a worker has to make first. Without the worker's own cost."""
    hops = math.ceil(i.wait_s / i.hop_s)  # the last of them composes
    records = i.packages + i.base_packages
    looks = math.ceil(i.wait_s / i.look_s)
    whole = function(p, i, hops, 0) + i.wait_s * i.memory_mb / 1024 * p.lambda_gb_second_arm64
    # one request more for each hop but the last, which is the HEAD that combination() has
    costs = dict(combination(p, i))
    costs["function"] += whole - function(p, i, 1, 0)
    costs["store, asked by the function"] += reads(p, looks * records)
    costs["store, writes"] += writes(p, records)  # claims
    costs["logs"] += logs(p, i, hops - 1)
    costs["queue"] = messages(p, 3 + i.wait_s // i.heartbeat_s)  # send, receive, delete, heartbeats
    return list(costs.items())


# ---- months


def idle(p, i):
    """A month in which nobody pulls: (what, at list price, beyond what is free in every account)."""
    def beyond(count, free, price):
        return count * price, max(0, count - free) * price

    stored = i.bucket_gb * p.s3_storage
    log = i.idle_log_gb * (p.logs_ingested + p.logs_stored)
    return [
        (f"bucket with {i.bucket_gb} GB", stored, stored),
        (f"alarms: {i.alarm_metrics} metrics", *beyond(i.alarm_metrics, i.free_alarm_metrics, p.alarm_metric)),
        ("dashboard", *beyond(i.dashboards, i.free_dashboards, p.dashboard)),
        ("logs", log, 0),
        ("queue: with no worker nobody polls it", 0, 0),
        ("function, network, S3 endpoint, worker at 0", 0, 0),
    ]


def worker_hour(p, i, instance):
    disk = i.volume_gb * p.ebs_gp3 + i.volume_extra_mb_s * p.ebs_gp3_throughput
    return instance + disk / i.hours + p.public_ipv4


def build(p, i, minutes, instance):
    """Minutes of a worker, and what one job asks of store and queue."""
    records = i.packages + i.base_packages
    asked = writes(p, 2 * i.build_layers + records) + messages(p, 3 + i.build_min * 60 // i.heartbeat_s)
    return minutes / 60 * worker_hour(p, i, instance) + asked


def schedule(p, i, instance):
    """A month of pre-warming: each run starts a worker, which stays for as long as messages come, and then idles."""
    minutes = i.boot_min + i.warm_window_min + i.build_min + i.idle_min
    sent = i.warm_images * (p.scheduler_invocation / MILLION + messages(p, 3))
    return i.warm_runs * (minutes / 60 * worker_hour(p, i, instance) + sent)


def always(p, i, instance):
    """A month of one worker that never goes: it asks the queue three times a minute."""
    return i.hours * (worker_hour(p, i, instance) + messages(p, 180))


# ---- the page


def dollars(value):
    if value == 0:
        return "0"
    return f"{value:,.2f}" if value >= 0.095 else f"{value:.2g}" if value >= 0.0001 else f"{value:.1e}"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|" + "|".join(["---"] * len(head)) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def tables(p, i, prices, inputs):
    kinds = [("check", check(p, i)), ("warm", pull(p, i)), ("new combination", combination(p, i)),
             (f"waiting, {i.wait_s} s", waiting(p, i))]
    parts = []
    for _, costs in kinds:
        parts.extend(what for what, _ in costs if what not in parts)
    by_part = [[what, *(dollars(dict(costs).get(what, 0) * MILLION) for _, costs in kinds)] for what in parts]
    sums = ["**sum**", *(f"**{dollars(total(costs) * MILLION)}**" for _, costs in kinds)]
    gb = i.image_mb / 1000
    traffic = [[f"{pulls:,}", f"{pulls * gb:,.0f}", dollars(egress(p, pulls * gb))] for pulls in (1000, 100_000, MILLION)]
    months = [[what, dollars(listed), dollars(left)] for what, listed, left in idle(p, i)]
    months.append(["**sum**", *(f"**{dollars(sum(row[n] for row in idle(p, i)))}**" for n in (1, 2))])
    cold = i.boot_min + i.build_min + i.idle_min
    both = (p.ec2_spot, p.ec2_on_demand)
    busy = i.custom_metrics * p.custom_metric
    workers = [
        ["an hour of a worker", *(dollars(worker_hour(p, i, instance)) for instance in both)],
        [f"one build on a worker that runs ({i.build_min} min)", *(dollars(build(p, i, i.build_min, price)) for price in both)],
        [f"one build that starts a worker ({cold} min, of which {i.idle_min} idle)", *(dollars(build(p, i, cold, price)) for price in both)],
        [f"pre-warming by the schedule of examples/aws, {i.warm_runs} times a month", *(dollars(schedule(p, i, price)) for price in both)],
        ["a worker that never goes, a month", *(dollars(always(p, i, price)) for price in both)],
    ]
    return {
        "pulls": table(["a million pulls, in dollars", *(kind for kind, _ in kinds)], [*by_part, sums]),
        "traffic": table(["pulls in a month", "GB to the internet", "dollars"], traffic),
        "idle": table(["a month without pulls, in dollars", "list price", "beyond the free allowance"], months)
        + f"\n\nWith pulls in every hour come {i.custom_metrics} metrics of our own: {dollars(busy)} dollars at list price, "
        f"{dollars(max(0, i.custom_metrics - i.free_custom_metrics) * p.custom_metric)} beyond the free allowance.",
        "worker": table(["in dollars", "spot", "on demand"], workers),
        "inputs": table(["input", "value", "what", "basis"], [
            [f"`{name}`", f"{entry['value']:g} {entry['unit']}".strip(), entry["what"], entry["basis"]] for name, entry in inputs.items()]),
        "prices": table(["price", "dollars", "per", "source", "basis"], [
            [f"`{name}`", f"{entry['value']:.10f}".rstrip("0").rstrip("."), entry["per"],
             f"[AWS]({entry['url']})" + (f", [seen]({entry['seen']})" if "seen" in entry else "") + f", {entry['date']}", entry["basis"]]
            for name, entry in prices.items()]),
    }


def main(action):
    (p, prices), (i, inputs) = load("prices.json", "prices"), load("cost.json", "inputs")
    page = HERE / "cost.md"
    old = new = page.read_text()
    for mark, text in tables(p, i, prices, inputs).items():
        begin, end = f"<!-- {mark} -->\n", f"\n<!-- end of {mark} -->"
        new, found = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + text + end, new, flags=re.S)
        if found != 1:
            raise SystemExit(f"{page}: the marks of {mark} are missing")
    if action == "--write":
        page.write_text(new)
    elif old != new:
        raise SystemExit(f"{page}: its numbers are not those of prices.json and cost.json: docs/cost.py --write")


# ---- tests: round prices, so that everything can be done in one's head


class Arithmetic(unittest.TestCase):
    def setUp(self):
        # a request 1 dollar, a GB-second 1 dollar, a read 1, a write 10, a message 100
        self.p = types.SimpleNamespace(
            lambda_request=1e6, lambda_gb_second_arm64=1, s3_get=1e6, s3_put=1e7, sqs_request=1e8, logs_ingested=1e9,
            logs_stored=0, s3_storage=0.5, alarm_metric=2, dashboard=3, egress_to_10_tb=4, egress_to_50_tb=3,
            egress_to_150_tb=2, egress_above=1, ebs_gp3=10, ebs_gp3_throughput=1, public_ipv4=1, scheduler_invocation=1e6)
        self.i = types.SimpleNamespace(
            memory_mb=512, ping_ms=1000, manifest_ms=2000, blob_ms=1000, compose_ms=4000, init_ms=0, cold_start_share=0,
            layers=2, packages=1, base_packages=1, tag_reads=2, digest_reads=1, compose_writes=5, wait_s=60, hop_s=25,
            look_s=1, heartbeat_s=10, log_bytes=0, bucket_gb=50, alarm_metrics=16, free_alarm_metrics=10, dashboards=1,
            free_dashboards=3, idle_log_gb=0, hours=100, volume_gb=10, volume_extra_mb_s=100, build_min=1, build_layers=3,
            boot_min=5, warm_window_min=10, idle_min=14, warm_runs=2, warm_images=3)

    def test_a_request_is_billed_by_the_whole_millisecond(self):
        self.assertAlmostEqual(function(self.p, self.i, 2, 1000), 2 * (1 + 0.5))
        self.assertAlmostEqual(function(self.p, self.i, 1, 0.2), 1 + 0.0005)

    def test_cold_starts_are_billed(self):
        self.i.init_ms, self.i.cold_start_share = 4000, 0.25
        self.assertAlmostEqual(function(self.p, self.i, 1, 1000), 1 + 0.5 + 0.5)

    def test_a_check_is_two_requests(self):
        self.assertEqual(dict(check(self.p, self.i)), {"function": 1.5 + 2, "store, asked by the function": 2, "logs": 0})

    def test_a_pull_redirects_for_config_and_layers(self):
        # ping 1.5, HEAD 2, GET 2, three blobs of 1.5; reads: 2 by tag, 1 by digest; the client reads three blobs
        costs = dict(pull(self.p, self.i))
        self.assertEqual(costs, {"function": 10, "store, asked by the function": 3, "store, asked by the client": 3, "logs": 0})

    def test_logs_are_of_every_request(self):
        self.i.log_bytes = 1000  # a thousand dollars for a million bytes: one for each byte
        self.assertAlmostEqual(dict(pull(self.p, self.i))["logs"], 6 * 1000)

    def test_a_new_combination_reads_records_and_writes(self):
        # HEAD takes 4 s: one dollar more; two records more; five writes of ten
        costs = dict(combination(self.p, self.i))
        self.assertEqual((costs["function"], costs["store, asked by the function"], costs["store, writes"]), (11, 5, 50))

    def test_a_wait_pays_for_its_time_and_its_looks(self):
        # 60 s are 30 dollars; three hops are two requests more; 60 looks at two records; two claims; 3 + 6 messages
        costs = dict(waiting(self.p, self.i))
        self.assertAlmostEqual(costs["function"], 11 + 30 + 2)
        self.assertEqual(costs["store, asked by the function"], 5 + 120)
        self.assertEqual((costs["store, writes"], costs["queue"]), (70, 900))

    def test_traffic_has_tiers(self):
        self.assertEqual(egress(self.p, 1), 4)
        self.assertEqual(egress(self.p, 10_000), 40_000)
        self.assertEqual(egress(self.p, 50_001), 40_000 + 120_000 + 2)
        self.assertEqual(egress(self.p, 150_001), 40_000 + 120_000 + 200_000 + 1)

    def test_an_idle_month(self):
        rows = idle(self.p, self.i)
        self.assertEqual(sum(row[1] for row in rows), 25 + 32 + 3)
        self.assertEqual(sum(row[2] for row in rows), 25 + 12)

    def test_a_worker_has_disks_and_an_address(self):
        # disks: (10 × 10 + 100) / 100 hours = 2; address 1
        self.assertEqual(worker_hour(self.p, self.i, 7), 10)
        # half an hour is 5; 2 × 3 layers and 2 records are 8 writes of 10; 3 + 6 messages of 100
        self.assertEqual(build(self.p, self.i, 30, 7), 5 + 80 + 900)
        # 5 + 10 + 1 + 14 = 30 min is 5; three images: 1 and three messages of 100 each
        self.assertEqual(schedule(self.p, self.i, 7), 2 * (5 + 3 * 301))
        self.assertEqual(always(self.p, self.i, 7), 100 * (10 + 18_000))

    def test_dollars_are_short(self):
        self.assertEqual([dollars(value) for value in (0, 1234.5, 0.1, 0.0123, 0.00001)],
                         ["0", "1,234.50", "0.10", "0.012", "1.0e-05"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--test"]:
        unittest.main(argv=sys.argv[:1])
    elif sys.argv[1:] in (["--check"], ["--write"]):
        main(sys.argv[1])
    else:
        raise SystemExit(__doc__)
