//! What to do about an error of a service.

use crate::command::words;
use crate::registry::error::printable;

/// The words of a service, and what they ask of an operator. The first that is found counts.
const KNOWN: [(&str, &str); 22] = [
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
        "not valid yet",
        "the clock of this machine is wrong: set it, and have it kept by NTP",
    ),
    (
        "Request has expired",
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
        "no credentials found",
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role",
    ),
    (
        "dns error",
        "its host has no address: check the URL's host and region, and this machine's DNS",
    ),
    (
        "InvalidContentType",
        "the other side speaks no TLS: it may be http:// that it wants, or another port",
    ),
    (
        "certificate",
        "its certificate is not trusted here: add its authority to this machine's certificates, or mend its name",
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

/// What stands in the SDK's words between what was tried and why it failed.
const NOISE: [&str; 6] = [
    "service error: ",
    "unhandled error: ",
    "dispatch failure: ",
    "other: ",
    "client error ",
    "the credential provider was not enabled: ",
];

/// From here on an error is a dump of itself.
const DUMPS: [&str; 6] = [
    " (DispatchFailure(",
    " (ServiceError(",
    " (ResponseError(",
    " (TimeoutError(",
    " (ConstructionFailure(",
    " Attempted:",
];

/// More of an error than this helps nobody, in characters.
const LONGEST: usize = 200;

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
    (short(text), advice)
}

/// What a service said, out of what a library made of it.
fn short(text: &str) -> String {
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(between, _)| between)
    };
    let sdk = between("code: \"", "\"").zip(between("message: \"", "\""));
    let xml = || between("<Code>", "</Code>").zip(between("<Message>", "</Message>"));
    let said = match sdk.or_else(xml) {
        Some((code, message)) => {
            let tried = text.split(": ").next().unwrap_or_default();
            format!("{tried}: {message} ({code})")
        }
        None => {
            let end = DUMPS.iter().filter_map(|dump| text.find(dump)).min();
            let said = &text[..end.unwrap_or(text.len())];
            NOISE
                .iter()
                .fold(said.to_owned(), |said, noise| said.replace(noise, ""))
        }
    };
    let line: Vec<&str> = said.split_whitespace().collect();
    let line = printable(&line.join(" "));
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_short_and_with_what_to_do() {
        for (text, short, advice) in [
            (
                "the object store refuses get: service error: unhandled error (NoSuchBucket): Error { code: \"NoSuchBucket\", \
                 message: \"The specified bucket does not exist\", aws_request_id: \"1\" } (ServiceError(ServiceError",
                "the object store refuses get: The specified bucket does not exist (NoSuchBucket)",
                "LAMINIX_STORE",
            ),
            (
                "the object store refuses credentials: the credential provider was not enabled: no credentials found in \
                 chain. Attempted: Environment: not set Profile: connection",
                "the object store refuses credentials: no credentials found in chain.",
                "AWS_ACCESS_KEY_ID",
            ),
            (
                "the queue fails at depth: dispatch failure: io error: client error (Connect): tcp connect error: \
                 Connection refused (os error 111) (DispatchFailure(DispatchFailure {",
                "the queue fails at depth: io error: (Connect): tcp connect error: Connection refused (os error 111)",
                "nobody answers",
            ),
            (
                "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>",
                "403 Forbidden: Request has expired (AccessDenied)",
                "clock",
            ),
            ("odd\u{1b}[31m\nwords", "odd[31m words", "try again"),
        ] {
            let (said, what) = of_text(text);
            assert_eq!(said, short);
            assert!(what.contains(advice), "{text}: {what}");
        }
        assert_eq!(short(&"é".repeat(500)).chars().count(), LONGEST + 1);
    }
}
