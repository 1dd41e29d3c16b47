//! The registry behind a Lambda function URL: events of payload format 2.0, answers in buffered mode.
//!
//! - The front end rewrites Content-Length by the body that it gets, so a HEAD is answered with its body, which it drops
//!   ([`Front::FunctionUrl`]).
//! - An answer is at most 6 MB as JSON. Manifests stay under 4 MiB and go as text; blobs are redirects.
//! - A request waits no longer than its invocation lasts.
//! - Whatever fails inside is an answer of the registry's: an invocation fails only if Lambda itself does.
//!
//! Beside the log there is one line of metrics for each request, in CloudWatch's embedded metric format.

use std::time::{Duration, Instant, SystemTime};

use http::{Response, Uri};
use http_body_util::BodyExt as _;
use lambda_http::{Body as LambdaBody, Error, Request, RequestExt as _, service_fn};
use serde_json::{Value, json};
use tracing::{Instrument as _, info_span};

use crate::body::Body;
use crate::registry::error::Error as RegistryError;
use crate::registry::{App, Front, Outcome, Report};

/// The variable that is there where Lambda (or what stands in for it) runs a function.
pub const RUNTIME: &str = "AWS_LAMBDA_RUNTIME_API";

/// Where the metrics are found.
const NAMESPACE: &str = "Laminix";

/// What the registry is behind, here.
pub const FRONT: Front = Front::FunctionUrl;

/// Answers invocations for as long as there are any.
///
/// # Errors
/// Those of the runtime's interface.
pub async fn serve(app: App, function: String) -> Result<(), Error> {
    app.warm().await;
    let (app, function) = (&app, &function);
    lambda_http::run(service_fn(async |request: Request| {
        let context = request.lambda_context_ref();
        let (id, deadline) = context.map_or_else(Default::default, |context| {
            (context.request_id.clone(), until(context.deadline))
        });
        let uri = target(&request);
        let span = info_span!("request", request_id = id);
        let answer = app.answer_by(deadline, request.method(), &uri, request.headers());
        let (response, report) = answer.instrument(span).await;
        println!("{}", metrics(&report, function, SystemTime::now()));
        Ok::<_, Error>(buffered(response).await)
    }))
    .await
}

/// The path and the query as they were sent: a digest's `%3A` is decoded once, by the registry.
fn target(request: &Request) -> Uri {
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let target = format!("{}{query}", request.raw_http_path());
    target.parse().unwrap_or_else(|_| request.uri().clone())
}

/// The moment of a deadline in milliseconds since 1970-01-01 UTC; none of one that is not set.
fn until(deadline: u64) -> Option<Instant> {
    let deadline = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    let left = deadline.duration_since(SystemTime::now()).ok()?;
    Instant::now().checked_add(left)
}

/// The answer as one piece. Text where it can be, because base64 is a third longer.
async fn buffered(response: Response<Body>) -> Response<LambdaBody> {
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(broken) => {
            let (parts, _) = RegistryError::internal(broken).response().into_parts();
            return Response::from_parts(parts, LambdaBody::Empty);
        }
    };
    let body = match String::from_utf8(bytes.into()) {
        Ok(text) if text.is_empty() => LambdaBody::Empty,
        Ok(text) => LambdaBody::Text(text),
        Err(binary) => LambdaBody::Binary(binary.into_bytes()),
    };
    Response::from_parts(parts, body)
}

/// One request as metrics (CloudWatch, "Embedded metric format specification").
fn metrics(report: &Report, function: &str, now: SystemTime) -> Value {
    let moment = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_millis());
    let count = |outcome| u32::from(report.outcome == outcome);
    json!({
        "_aws": {
            "Timestamp": u64::try_from(moment).unwrap_or(u64::MAX),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Function"]],
                "Metrics": [
                    { "Name": "Warm", "Unit": "Count" },
                    { "Name": "Composed", "Unit": "Count" },
                    { "Name": "Waited", "Unit": "Count" },
                    { "Name": "Refused", "Unit": "Count" },
                    { "Name": "Failed", "Unit": "Count" },
                    { "Name": "StoreCalls", "Unit": "Count" },
                    { "Name": "Duration", "Unit": "Milliseconds" },
                    { "Name": "BuildSeconds", "Unit": "Seconds" },
                ],
            }],
        },
        "Function": function,
        "Warm": count(Outcome::Warm),
        "Composed": count(Outcome::Composed),
        "Waited": count(Outcome::Waited),
        "Refused": count(Outcome::Refused),
        "Failed": count(Outcome::Failed),
        "StoreCalls": report.store_calls,
        "Duration": report.took.as_secs_f64() * 1000.0,
        "BuildSeconds": report.waited().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_what_they_hold() {
        let report = Report {
            outcome: Outcome::Waited,
            store_calls: 7,
            took: Duration::from_millis(1500),
            phases: vec![
                ("cache", Duration::from_millis(5)),
                ("wait", Duration::from_secs(1)),
            ],
            ..Report::default()
        };
        let line = metrics(
            &report,
            "laminix",
            SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        );
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        for metric in directive["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
        assert!(line[directive["Dimensions"][0][0].as_str().unwrap()].is_string());
        assert_eq!(line["_aws"]["Timestamp"], 1000);
        assert_eq!(
            (&line["Waited"], &line["Warm"], &line["StoreCalls"]),
            (&json!(1), &json!(0), &json!(7))
        );
        assert_eq!(
            (&line["Duration"], &line["BuildSeconds"]),
            (&json!(1500.0), &json!(1.0))
        );
        assert!(!line.to_string().contains('\n'));
    }

    #[test]
    fn a_deadline_is_a_moment() {
        let ahead = SystemTime::now() + Duration::from_secs(40);
        let millis = ahead.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let left = until(millis as u64).unwrap() - Instant::now();
        assert!((39..=40).contains(&left.as_secs()), "{left:?}");
        assert_eq!(until(0), None);
    }
}
