//! Events and answers of supervision for JavaScript, as plain data.

use serde_json::{Value, json};

use rcluster_core::control::supervise::{Event, Failure, describe as described};
use rcluster_core::ids::Request;

/// An event: its name, and an object for its listeners.
pub(super) fn describe(event: &Event) -> Value {
    let (name, facts) = described(event);
    json!({ "type": "event", "name": name, "facts": facts })
}

/// The answer to a request.
pub(super) fn answered(request: Request, result: &std::result::Result<(), Failure>) -> Value {
    let failure = result
        .as_ref()
        .err()
        .map(|failure| json!({ "code": failure.code(), "message": failure.to_string(), "stderrTail": failure.stderr() }));
    json!({ "type": "answer", "request": request.0, "failure": failure })
}
