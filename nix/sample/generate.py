#!/usr/bin/env python3
"""Writes the sample package set: Debian packages as Nix packages that build with no network but apt's.

usage: generate.py OUTDIR [--cache DIR] [--system SYSTEM]...

Each Debian package (or each cycle of packages) becomes one derivation, for x86_64-linux and aarch64-linux. Needs apt and
dpkg-deb, no root: apt runs with a state of its own below the cache. The same Debian packages give the same bytes in
OUTDIR. A set that is complete already is left alone.
"""
import argparse, hashlib, json, os, re, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = "bookworm"
ARCHITECTURES = {"x86_64-linux": "amd64", "aarch64-linux": "arm64"}
# what builds the others: unpacked as it is, and in no package's closure
BOOTSTRAP = ["busybox-static", "patchelf", "libstdc++6", "libgcc-s1", "libc6"]
# data that a derivation of its own is made of
DATA = ["ca-certificates", "netbase"]
# of use to an installed Debian alone
IGNORED = set("""adduser base-files ca-certificates-java debconf debianutils dpkg git-man info init-system-helpers install-info
libpam0g libpam-modules libpam-runtime lsb-base man-db mime-support netbase passwd procps sensible-utils
tzdata-legacy ucf usrmerge util-linux""".split())
# Debian splits these into packages that only work side by side
TOGETHER = {
    "perl": r"perl(-base|-modules-[\d.]+)?|libperl[\d.]+",
    "python3": r"(lib)?python3(\.\d+)?(-minimal|-stdlib)?|media-types",
}


class Apt:
    """apt with a state of its own, for one architecture."""

    def __init__(self, cache, arch):
        self.dir = os.path.join(cache, f"apt-{arch}")
        for sub in ("state/lists/partial", "cache/archives/partial", "etc"):
            os.makedirs(os.path.join(self.dir, sub), exist_ok=True)
        self.debs = os.path.join(self.dir, "debs")
        os.makedirs(self.debs, exist_ok=True)
        sources = os.path.join(self.dir, "etc/sources.list")
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        with open(sources, "w") as f:
            f.write(f"deb [arch={arch} signed-by={keyring}] {mirror()} {SUITE} main\n")
        open(os.path.join(self.dir, "state/status"), "a").close()
        self.options = [x for option in (
            f"Dir::State={self.dir}/state", f"Dir::State::status={self.dir}/state/status", f"Dir::Cache={self.dir}/cache",
            f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=-", f"APT::Architecture={arch}",
            f"APT::Architectures={arch}", "APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=3",
        ) for x in ("-o", option)]

    def run(self, program, *args, **options):
        return subprocess.run([program, *self.options, *args], check=True, text=True, **options)

    def packages(self):
        """name -> {field: value} of every package of the suite."""
        self.run("apt-get", "update", "-qq")
        found = {}
        for stanza in self.run("apt-cache", "dumpavail", stdout=subprocess.PIPE).stdout.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
            if "Package" in fields:
                found[fields["Package"]] = fields
        return found

    def download(self, available, names):
        """name -> file of each package, verified by apt."""
        files = {}
        for name in names:
            base = os.path.basename(available[name]["Filename"])
            files[name] = os.path.join(self.debs, base)
        missing = sorted(name for name, file in files.items() if not intact(file, available[name]["SHA256"]))
        if missing:
            self.run("apt-get", "download", "-qq", *missing, cwd=self.debs)
            for name in missing:
                version = available[name]["Version"].replace(":", "%3a")
                os.replace(f"{self.debs}/{name}_{version}_{available[name]['Architecture']}.deb", files[name])
        return files


def intact(file, sha256):
    if not os.path.exists(file):
        return False
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() == sha256


def mirror():
    """The Debian mirror that this machine uses."""
    for root, _, names in os.walk("/etc/apt"):
        for name in sorted(names):
            if name.endswith((".list", ".sources")):
                found = re.search(r"^(?:deb |URIs:).*?(https?://\S+/debian)/?\s", open(os.path.join(root, name)).read() + "\n", re.M)
                if found:
                    return found.group(1)
    return "http://deb.debian.org/debian"


def dependencies(available, providers, name):
    """The packages that one package needs, the first alternative of each."""
    fields, found = available[name], []
    for clause in ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends")))).split(","):
        for choice in filter(None, map(str.strip, clause.split("|"))):
            wanted = re.sub(r"[\s(:].*", "", choice)
            real = wanted if wanted in available else next(iter(providers.get(wanted, [])), None)
            if real:
                found.append(real)
                break
    return sorted(set(found) - {name} - IGNORED)


def graph(available, wanted):
    providers = {}
    for name in sorted(available):
        for provided in available[name].get("Provides", "").split(","):
            providers.setdefault(re.sub(r"[\s(].*", "", provided.strip()), []).append(name)
    found, todo = {}, list(wanted)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = dependencies(available, providers, name)
            todo += found[name]
    # the C library needs nothing at run time that it does not bring
    found["libc6"] = []
    return found


def groups(edges, heads):
    """Cycles as groups: package -> the head of its group (Tarjan)."""
    number, low, stack, head_of = {}, {}, [], {}

    def visit(v):
        number[v] = low[v] = len(number)
        stack.append(v)
        for w in edges[v]:
            if w not in number:
                visit(w)
            if w not in head_of:
                low[v] = min(low[v], low[w])
        if low[v] == number[v]:
            members = stack[stack.index(v):]
            del stack[stack.index(v):]
            head = next((h for h in heads if h in members), min(members))
            head_of.update((m, head) for m in members)

    sys.setrecursionlimit(10_000)
    for v in sorted(edges):
        if v not in number:
            visit(v)
    return head_of


def plan(available, listed):
    """attribute -> {version, debs, deps} for one architecture."""
    attribute, wanted = {}, []
    for name, package in listed.items():
        attribute[package["debs"][0]] = name
        wanted += package["debs"] + package.get("with", [])
    edges = graph(available, wanted)
    together = list(TOGETHER.items()) + [(p["debs"][0], "|".join(map(re.escape, p["debs"]))) for p in listed.values() if len(p["debs"]) > 1]
    for head, pattern in together:
        for member in [n for n in edges if re.fullmatch(pattern, n) and n != head]:
            edges[member] = sorted({*edges[member], head})
            edges[head] = sorted({*edges[head], member})
    for package in listed.values():
        head = package["debs"][0]
        edges[head] = sorted({*edges[head], *package.get("with", [])})
    # scripts need a shell, and bash's own closure has none that matters
    shell_closure, todo = set(), ["bash"]
    while todo:
        name = todo.pop()
        if name not in shell_closure:
            shell_closure.add(name)
            todo += edges[name]
    for name in edges:
        if name not in shell_closure:
            edges[name] = sorted({*edges[name], "bash"})
    head_of = groups(edges, list(attribute))
    found = {}
    for head in sorted(set(head_of.values())):
        members = sorted(m for m in head_of if head_of[m] == head)
        deps = sorted({head_of[d] for m in members for d in edges[m]} - {head})
        found[attribute.get(head, head)] = {
            "pname": clean(head), "version": clean(available[head]["Version"].split(":")[-1]), "debs": members,
            "deps": [attribute.get(d, d) for d in deps],
        }
    return found


def clean(text):
    return re.sub(r"[^0-9A-Za-z.+-]", "-", text)


def write(directory, cache, systems):
    with open(f"{HERE}/packages.json") as f:
        listed = json.load(f)
    os.makedirs(f"{directory}/debs")
    for system in systems:
        apt = Apt(cache, ARCHITECTURES[system])
        available = apt.packages()
        packages = plan(available, listed)
        names = {n for p in packages.values() for n in p["debs"]} | set(BOOTSTRAP) | set(DATA)
        files = apt.download(available, sorted(names))
        for file in files.values():
            shutil.copyfile(file, f"{directory}/debs/{store_name(file)}")
        for package in packages.values():
            package["debs"] = [store_name(files[n]) for n in package["debs"]]
        facts = {
            "packages": packages,
            "bootstrap": [store_name(files[n]) for n in BOOTSTRAP],
            "data": {n: {"deb": store_name(files[n]), "version": clean(available[n]["Version"])} for n in DATA},
        }
        with open(f"{directory}/{system}.json", "w") as f:
            json.dump(facts, f, indent=1, sort_keys=True)
        busybox(files["busybox-static"], f"{directory}/bootstrap-{system}")
    for name in sorted(os.listdir(HERE)):
        if name.endswith((".nix", ".sh")) or name == "packages.json":
            shutil.copyfile(f"{HERE}/{name}", f"{directory}/{name}")


def busybox(deb, to):
    """Takes the one program out that starts everything. It wants to be called by its name: a directory of its own."""
    os.mkdir(to)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["dpkg-deb", "--extract", deb, scratch], check=True)
        shutil.copyfile(f"{scratch}/bin/busybox", f"{to}/busybox")
    os.chmod(f"{to}/busybox", 0o755)


def store_name(file):
    return re.sub(r"[^0-9A-Za-z.+_-]", "-", os.path.basename(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outdir")
    parser.add_argument("--cache", default=os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "laminix/sample"))
    parser.add_argument("--system", action="append", choices=sorted(ARCHITECTURES))
    args = parser.parse_args()
    systems = sorted(args.system or ARCHITECTURES)
    stamp = hashlib.sha256(json.dumps(systems).encode())
    for name in sorted(os.listdir(HERE)):
        if os.path.isfile(f"{HERE}/{name}"):
            with open(f"{HERE}/{name}", "rb") as f:
                stamp.update(f.read())
    # beside the set and not in it: a set's content is its revision
    stamp_file = args.outdir.rstrip("/") + ".stamp"
    if os.path.isdir(args.outdir) and os.path.exists(stamp_file) and open(stamp_file).read() == stamp.hexdigest():
        return
    parent = os.path.dirname(os.path.abspath(args.outdir))
    os.makedirs(parent, exist_ok=True)
    print("sample set: fetching Debian packages for", " and ".join(systems), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=parent) as scratch:
        write(f"{scratch}/set", os.path.abspath(args.cache), systems)
        if os.path.exists(args.outdir):
            os.rename(args.outdir, f"{scratch}/old")
        os.rename(f"{scratch}/set", args.outdir)
    with open(stamp_file, "w") as f:
        f.write(stamp.hexdigest())


if __name__ == "__main__":
    main()
