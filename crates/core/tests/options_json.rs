//! The options of `supervise()` as JavaScript reads them: a file that is generated from the code. `npm run
//! options` writes it.

use rcluster_core::control::supervise::Options;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lib/primary/supervise/options.json");

#[test]
fn javascript_has_the_same_rules_and_defaults() {
    let rules = Options::rules();
    if std::env::var_os("RCLUSTER_WRITE").is_some() {
        std::fs::write(FILE, format!("{rules:#}\n")).unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert_eq!(file, rules, "`npm run options` writes the file");
}
