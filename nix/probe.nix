# A build that tells whether it sees the machine: a marker that lies outside of every sandbox.
{ marker, nonce, system }:
derivation {
  name = "laminix-probe";
  inherit system nonce;
  builder = "/bin/sh";
  args = [ "-c" "if [ -e '${marker}' ]; then echo visible; else echo hidden; fi > $out" ];
}
