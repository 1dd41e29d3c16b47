//! Help that one can learn from. No line is longer than 80 characters: that is how wide a terminal is at least.

/// In one look.
pub(super) const USAGE: &str = "\
usage: laminix [serve]                  answer requests
       laminix warm IMAGE… [--wait]     make images ready before anybody pulls
       laminix status IMAGE [--json]    what is known of an image
       laminix doctor [--worker]        check that everything is as it should be
       laminix help [COMMAND]
       laminix --version
";

/// `laminix --help`.
pub(super) const OVERVIEW: &str = "\
laminix: a container registry whose images are made on demand from Nix packages

usage: laminix [serve]                  answer requests
       laminix warm IMAGE… [--wait]     make images ready before anybody pulls
       laminix status IMAGE [--json]    what is known of an image
       laminix doctor [--worker]        check that everything is as it should be
       laminix help [COMMAND]
       laminix --version

An IMAGE is named as in a pull, without the registry's address: its packages,
with / between them, and a tag: `shell/git`, `python3/curl:nixos-26.05`.

Three variables say where everything is; all commands need them:

  LAMINIX_STORE    the objects: file:///directory, s3://bucket, gs://bucket
  LAMINIX_QUEUE    the jobs: file:///directory, sqs://host/account/name
  LAMINIX_SOURCE   the packages: channel:nixos-unstable, git+https://…, path:/…

Examples

  laminix doctor                           is it set up as it should be?
  laminix warm shell/git --wait            make it ready, and see it happen
  laminix status shell/git                 what would a pull of it do now?

Exit codes: 0 done; 1 something that was asked for failed; 64 wrong use or
configuration; 69 the store or the queue does not do its part; 75 time was up;
130 stopped by Ctrl-C.

`laminix help COMMAND` tells more of each.
";

/// The help on a command, if it is one.
pub(super) fn of(command: &str) -> Option<&'static str> {
    match command {
        "serve" => Some(SERVE),
        "warm" => Some(WARM),
        "status" => Some(STATUS),
        "doctor" => Some(DOCTOR),
        _ => None,
    }
}

const SERVE: &str = "\
usage: laminix serve

Answers requests on LAMINIX_LISTEN (127.0.0.1:5726), until it is told to stop;
then it finishes those that are on their way. On AWS Lambda it takes them from
the runtime instead. It is what `laminix` does without a command.

Packages are made by workers, which run elsewhere: see `laminix-builder`.

Variables: LAMINIX_STORE, LAMINIX_QUEUE and LAMINIX_SOURCE must be set. Others
are LAMINIX_LISTEN, LAMINIX_SYSTEM, LAMINIX_REFRESH, LAMINIX_HOP, LAMINIX_HOPS,
LAMINIX_LOG and LAMINIX_LOG_FORMAT: the README tells what each means.

Examples

  LAMINIX_STORE=file:///var/lib/laminix/store \\
  LAMINIX_QUEUE=file:///var/lib/laminix/queue \\
  LAMINIX_SOURCE=channel:nixos-unstable  laminix serve
";

const WARM: &str = "\
usage: laminix warm IMAGE… [--file LIST] [--wait [--for TIME]]

Makes images ready before anybody pulls them: for each it sends a job to the
workers, which look up what the tag names now, and build or fetch what the
image is made of. What is ready already costs nothing. A tag that is about to
move is made ready at both ends.

  IMAGE         shell/git, or shell/git:nixos-26.05; `latest` if it has no tag
  --file LIST   a file, an image on each line; # begins a comment; - is stdin
  --wait        stay until every image is ready or has failed, and tell of each
  --for TIME    wait so long at most: 90s, 30m, 2h; without it 2h

All names are checked before anything is sent. Ctrl-C ends the waiting, and not
the jobs. Without --wait nothing is said of what becomes of them: `laminix
status IMAGE` tells.

Needs LAMINIX_QUEUE and LAMINIX_SOURCE; with --wait also LAMINIX_STORE.

Exit codes: 0 all is sent, or ready; 1 an image failed, with the reason beside
it; 64 a name cannot be; 69 the store or the queue fails; 75 time was up;
130 stopped by Ctrl-C.

Examples

  laminix warm shell/git                   one image, for later
  laminix warm --file team.txt --wait      a list, to the end
  git ls-files '*.image' | xargs cat | laminix warm --file - --wait --for 30m
";

const STATUS: &str = "\
usage: laminix status IMAGE [--json]

Tells what is known of an image, and asks nobody to do anything:

- the tag: the revision that it names, when that was looked up, and to which
  revision it is about to move;
- the image: whether it is in the cache, its layers, and what there is to
  download;
- what a pull would do now: be answered from the cache, be composed at once,
  wait for a builder, or be refused;
- each package: ready, missing, being made since when and how far, failed with
  the reason and the end of the log, or not in the package set, with the names
  that are near.

  IMAGE         shell/git, or shell/git:nixos-26.05; `latest` if it has no tag
  --json        the same for programs, with the whole log; times are seconds
                since 1970

Needs LAMINIX_STORE and LAMINIX_SOURCE.

Exit codes: 0 it was found out, whatever it is; 64 the name cannot be; 69 the
store fails.

Examples

  laminix status shell/git
  laminix status python3/curl:nixos-26.05
  laminix status --json shell/git | jq -r .pull      cached, composed, waits…
";

const DOCTOR: &str = "\
usage: laminix doctor [--worker [--for TIME]]

Checks one thing after the other, and says what was measured, and what to do
about what is wrong:

- configuration: all that is set can be read;
- store: an object is created once and not twice, read, deleted (below claims/);
- credentials: whose they are, and when they end; no secret is ever shown;
- clock: this machine's against the store's;
- download: a small blob is stored, and fetched by a signed URL as clients do;
- queue: how many jobs wait, run, and were given up; where those go;
- worker: whether one is at work;
- nix: its version, whether builds are sandboxed, how much its disk has free.

  --worker      sends a harmless job (look up what `latest` names), and waits
                until a worker has done it
  --for TIME    wait so long for it: 60s if it is not said

It is for the machine and the role that it runs on: run it where the function
or the worker runs, to see what they see. Where LAMINIX_STATUS is set, as it is
for a worker, the worker of that address tells of itself, and of its Nix.

Exit codes: 0 nothing FAILED, though there may be warnings; 1 something did.

Examples

  laminix doctor
  laminix doctor --worker --for 5m
";
