#!/usr/bin/env python3
"""Whether the pages say what the code says: variables, defaults, alarms, metrics, links, and files that are named.

    check.py          prints what is wrong, a line each, and ends with a count

What is read off the code is counted too: a pattern that finds nothing any more would otherwise agree with everything.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROBLEMS = []
CHECKED = {}


def tracked():
    """What is in the repository, or is about to be."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


FILES = tracked()


def read(name):
    return (ROOT / name).read_text()


def check(what, good, problem):
    CHECKED[what] = CHECKED.get(what, 0) + 1
    if not good:
        PROBLEMS.append(f"{what}: {problem}")


# ---- variables

# of others: what the SDK of AWS reads, and is documented because operators set it
OTHERS = {"AWS_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
NAME = re.compile(r'"((?:LAMINIX|GCS|GCE|GOOGLE|CLOUDSDK|NIXERY|AWS)(?:_[A-Z]+)+|NIX_TIMEOUT|PORT|STORAGE_PATH|HOME)"')
ROW = re.compile(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|(.*)\|$", re.M)


def rust():
    return [name for name in FILES if name.endswith(".rs") and "/tests/" not in name and "/bench/" not in name]


def variables():
    page = read("infra/docs/configuration.md")
    named = {}
    for names, rest in ROW.findall(page):
        for name in re.findall(r"[A-Z_]+", names):
            named[name] = [cell.strip() for cell in rest.split(" | ")]
    # tests at the end of a file set variables, and read none
    code = {name for file in rust() for name in NAME.findall(read(file).split("\n#[cfg(test)]\nmod ")[0])}
    code = {name for name in code if not name.startswith("LAMINIX_TEST_")}
    for name in sorted(code):
        check("variables of the code", name in named, f"{name} is read, and docs/configuration.md has no row for it")
    scripts = "\n".join(read(file) for file in FILES if file == "dev" or file.startswith((".ci/", "infra/worker/")))
    for name in sorted(named):
        known = name in code or name in OTHERS or re.search(rf"\b{name}\b", scripts)
        check("variables of the page", known, f"{name} is in docs/configuration.md, and nothing reads it")
    for file in FILES:
        if re.fullmatch(r"infra/(gcs/)?[\w-]+\.tf", file):
            for name in re.findall(r"\b(?:LAMINIX|GCS)(?:_[A-Z]+)+\b", read(file)):
                check("variables of the Terraform", name in named, f"{name}, of {file}, is not in docs/configuration.md")
    nixery = read("infra/docs/nixery.md")
    for name in sorted(code):
        if name.startswith("NIXERY_") or name in ("NIX_TIMEOUT", "PORT", "STORAGE_PATH"):
            check("variables of Nixery", f"`{name}`" in nixery, f"{name} is not in docs/nixery.md")
    return named


UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def arithmetic(text):
    return eval(text, {"__builtins__": {}}) if re.fullmatch(r"[\d_*<+ ()]+", text) else None  # noqa: S307: digits and signs


def default_of_code(text):
    """A default in Rust, as a number (seconds, bytes) or as text; None where it is not said simply."""
    for pattern, value in [
        (r"Duration::from_secs\((.+)\)", lambda found: arithmetic(found[1])),
        (r"[\d_*<+ ()]+", lambda found: arithmetic(found[0])),
        (r"if cached \{ (\d+) \} else \{ \d+ \}", lambda found: int(found[1])),
        (r"two", lambda _: 2),
        (r"(?:PathBuf::from\()?\"([^\"]+)\"(?:\)|\.to_owned\(\))?", lambda found: found[1]),
        (r"System::Amd64", lambda _: "x86_64-linux"),
        (r"(?:Compression|Sandbox)::(\w+)", lambda found: found[1].lower()),
        (r"None", lambda _: "none"),
    ]:
        found = re.fullmatch(pattern, text)
        if found:
            return value(found)
    return None


def default_of_page(text):
    found = re.match(r"`([^`]+)`", text)
    if not found:
        return text.split(" ")[0].rstrip(":,;")
    number = re.fullmatch(r"(\d+)([smhdKMG]?)", found[1])
    return int(number[1]) * UNITS[number[2]] if number else found[1]


def defaults(named):
    reads = re.compile(r'(?:variables|self)\.read\(\s*("?\w+"?),\s*(.+?),\s*(?:\||duration\b|bytes\b|url\b)', re.S)
    for file in ("src/config.rs", "builder-worker/src/config.rs"):
        code = read(file).split("\n#[cfg(test)]\nmod ")[0]
        constants = dict(re.findall(r'pub const (\w+): &str = "(\w+)";', code))
        for word, text in reads.findall(code):
            name = constants.get(word, word.strip('"'))
            default = default_of_code(" ".join(text.split()))
            if default is None or name not in named:
                continue
            said = default_of_page(named[name][0])
            check("defaults", said == default, f"{name}: the page says {said}, and {file} {default}")
    port = re.search(r"const PORT: u16 = (\d+);", read("src/config.rs"))
    check("defaults", port and f"`127.0.0.1:{port[1]}`" in named["LAMINIX_LISTEN"][0], "LAMINIX_LISTEN has another port")


# ---- alarms and metrics

def operations():
    page = read("infra/docs/operations.md")
    terraform = read("infra/alarms.tf") + read("infra/scaling.tf")
    alarms = set(re.findall(r"^    ([a-z-]+) += \{$", terraform, re.M))
    alarms |= set(re.findall(r'alarm_name += "\$\{var\.name\}-([a-z-]+)"', terraform))
    table = page.partition("<!-- alarms -->")[2].partition("<!-- end of alarms -->")[0]
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.M))
    for alarm in sorted(alarms | rows):
        check("alarms", alarm in rows, f"{alarm} is in infra/, and not in docs/operations.md")
        check("alarms", alarm in alarms, f"{alarm} is in docs/operations.md, and not in infra/")
    metrics = re.findall(r'"Name": "(\w+)"', read("src/lambda.rs"))
    metrics += re.findall(r'"(laminix_\w+)",\n', read("builder-worker/src/meters.rs"))
    for metric in metrics:
        check("metrics", f"`{metric}`" in page, f"{metric} is not in docs/operations.md")


# ---- links, and files that are named

KINDS = r"\.(?:rs|tf|py|md|json|nix|yaml|toml|html|service|go|hcl|sh)"
PLACES = r"(?:src|builder-worker|infra|nix|web|docs|\.ci)/"


def slug(title):
    """As GitHub makes an anchor of a title."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    return re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-")


def pages():
    names = {name.rsplit("/", 1)[-1] for name in FILES}
    for file in (name for name in FILES if name.endswith(".md")):
        here, text = (ROOT / file).parent, read(file)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (here / path).resolve() if path else ROOT / file
            check("links", there.exists(), f"{file}: {target} leads nowhere")
            if anchor and there.suffix == ".md" and there.exists():
                titles = {slug(title) for title in re.findall(r"^#+ (.+)$", there.read_text(), re.M)}
                check("links", anchor in titles, f"{file}: {target} leads to no heading")
        for name in re.findall(r"`([\w./-]+)`", text):
            if not re.fullmatch(rf"{PLACES}[\w./-]*|[\w./-]+{KINDS}", name) or name.startswith(("/", "target/", ".terraform")):
                continue
            there = any((place / name).exists() for place in (here, ROOT))
            check("files", there or ("/" not in name and name in names), f"{file}: there is no {name}")


# ---- the inputs of the cost model that the code has

def inputs():
    entries = json.loads(read("infra/docs/cost.json"))["inputs"]
    terraform = read("infra/variables.tf") + read("infra/variables-worker.tf")

    def variable(name):
        found = re.search(rf'^variable "{name}" \{{\n.*?^  default += (\d+)', terraform, re.M | re.S)
        return found and int(found[1])

    hop = re.search(r"variables\.read\(HOP, Duration::from_secs\((\d+)\)", read("src/config.rs"))
    worker = read("infra/worker.tf")
    sizes = [int(size) for size in re.findall(r"volume_size +?= (\d+)", worker)] + [variable("worker_volume_size")]
    # one for each alarm of the maps, one for each metric that is written out, and those that are written once for several
    scaling = read("infra/alarms.tf") + read("infra/scaling.tf")
    metrics = len(re.findall(r"^    [a-z-]+ += \{$", scaling, re.M)) + len(re.findall(r"metric_name += (?!each)", scaling))
    metrics += sum(several.count(",") for several in re.findall(r"for_each = toset\(\[(.*?)\]\)", scaling))
    for name, value in {
        "alarm_metrics": metrics,
        "memory_mb": variable("function_memory"),
        "idle_min": variable("worker_idle_minutes"),
        "hop_s": hop and int(hop[1]),
        "volume_gb": sum(size or 0 for size in sizes),
        "volume_extra_mb_s": int(re.search(r"throughput += (\d+)", worker)[1]) - 125,
        "custom_metrics": read("src/lambda.rs").count('{ "Name": ') + read("infra/alarms.tf").count("aws_cloudwatch_log_metric_filter\""),
    }.items():
        check("cost inputs", entries[name]["value"] == value, f"{name} is {entries[name]['value']}, and in the code {value}")


def main():
    named = variables()
    defaults(named)
    operations()
    pages()
    inputs()
    least = {"variables of the code": 40, "variables of the Terraform": 15, "defaults": 20, "alarms": 20, "metrics": 15,
             "links": 30, "files": 30}
    for what, count in least.items():
        if CHECKED.get(what, 0) < count:
            PROBLEMS.append(f"{what}: only {CHECKED.get(what, 0)} were found, of {count} or more: does the check still read the code?")
    for problem in sorted(set(PROBLEMS)):
        print(problem)
    print(f"docs: {sum(CHECKED.values())} checked, {len(set(PROBLEMS))} wrong")
    sys.exit(bool(PROBLEMS))


main()
