//! What to do about an error of a service.

use crate::command::words;

/// The words of a service, and what they ask of an operator. The first that is found counts.
const KNOWN: [(&str, &str); 18] = [
    (
        "NoSuchBucket",
        "there is no such bucket: check its name and region in LAMINIX_STORE",
    ),
    (
        "there is no bucket",
        "there is no such bucket: check its name in LAMINIX_STORE",
    ),
    (
        "NonExistentQueue",
        "there is no such queue: check account, name and region in LAMINIX_QUEUE",
    ),
    (
        "QueueDoesNotExist",
        "there is no such queue: check account, name and region in LAMINIX_QUEUE",
    ),
    (
        "RequestTimeTooSkewed",
        "the clock of this machine is wrong: set it, and have it kept by NTP",
    ),
    (
        "RequestExpired",
        "the clock of this machine is wrong: set it, and have it kept by NTP",
    ),
    (
        "InvalidAccessKeyId",
        "the service does not know the access key: check which one is set (the line `credentials`)",
    ),
    (
        "InvalidClientTokenId",
        "the service does not know the access key: check which one is set (the line `credentials`)",
    ),
    (
        "SignatureDoesNotMatch",
        "the secret does not belong to the access key, or the region is another one",
    ),
    (
        "AuthorizationHeaderMalformed",
        "the region is another one: set it in the URL (?region=…)",
    ),
    (
        "PermanentRedirect",
        "the bucket is in another region: set it in the URL (?region=…)",
    ),
    (
        "ExpiredToken",
        "the credentials have ended: get new ones, or a role that renews them",
    ),
    (
        "AccessDenied",
        "the credentials are good, and may not do this: compare their policy with infra/roles.tf",
    ),
    (
        "403",
        "the credentials may not do this: compare their rights with infra/roles.tf",
    ),
    (
        "no providers in chain provided credentials",
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role",
    ),
    (
        "dns error",
        "its host has no address: check the URL's host and region, and this machine's DNS",
    ),
    (
        "onnect",
        "nobody answers there: check host and port in the URL, and that this machine may connect to it",
    ),
    (
        "ermission denied",
        "the directory belongs to somebody else: give it to the user that the registry runs as",
    ),
];

/// More of an error than this is a dump of a response.
const LONGEST: usize = 240;

/// An error in short, and what to do.
pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> (String, &'static str) {
    of_text(&words::in_full(error))
}

/// The same of an error in words.
pub(super) fn of_text(text: &str) -> (String, &'static str) {
    let advice = KNOWN.iter().find(|(words, _)| text.contains(words));
    let advice = advice.map_or(
        "try again in a minute; if it stays, this is what to look for at the service",
        |(_, advice)| advice,
    );
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    let short = match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    };
    (short, advice)
}
