//! The frames of rcluster in the JavaScript stack of an app.

/// Leaves out the frames of rcluster's library that have called the app: they are part of every stack of a server, and
/// say nothing about the app. Those that the app has called stay, as does a stack without the app.
#[must_use]
pub fn leave_out(stack: &str, library: &str) -> String {
    let is_own = |line: &str| {
        let path = place(line).strip_prefix(library).unwrap_or_default();
        path.starts_with('/')
    };
    let is_app = |line: &str| !is_own(line) && !place(line).starts_with("node:");
    // What the app has called comes first.
    let mut is_called = true;
    let keep = |line: &&str| {
        is_called &= !is_app(line);
        is_called || !is_own(line)
    };
    if !stack.lines().any(is_app) {
        return stack.to_owned();
    }
    stack.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

/// The place in a frame: `at name (file:line:column)` or `at file:line:column`.
fn place(line: &str) -> &str {
    line.rsplit_once(" (").map_or_else(|| line.trim_start().trim_start_matches("at "), |(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(frames: &[&str]) -> String {
        leave_out(&frames.join("\n"), "/a/rcluster/lib")
    }

    #[test]
    fn frames_that_have_called_the_app_are_left_out() {
        let frames = [
            "    at write (node:fs:1:1)",
            "    at get (/a/rcluster/lib/shared/store.js:1:1)",
            "    at new Handler (/app/app.js:3:43)",
            "    at emit (node:events:524:28)",
            "    at enter (/a/rcluster/lib/worker/exchanges.js:151:20)",
            "    at /a/rcluster/lib/worker/exchanges.js:105:16",
            "    at /app/node_modules/rcluster/lib.js:9:9",
        ];
        let kept = [frames[0], frames[1], frames[2], frames[3], frames[6]];
        assert_eq!(left_out(&frames), kept.join("\n"));
    }

    #[test]
    fn a_stack_without_the_app_stays() {
        let frames = ["    at emit (node:events:1:1)", "    at a (/a/rcluster/lib/worker/drain.js:1:1)"];
        assert_eq!(left_out(&frames), frames.join("\n"));
        assert_eq!(left_out(&[]), "");
    }
}
