use serde_json::json;

use super::*;

/// The documented defaults with one worker, as JavaScript sends them.
fn complete() -> Value {
    let mut value = serde_json::to_value(Options::default()).unwrap();
    value["signals"] = json!(true);
    value
}

fn with(path: &str, value: Value) -> Result<Options, Invalid> {
    let mut options = complete();
    *options.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value;
    Options::from_json(&options.to_string())
}

#[test]
fn each_field_has_a_row_and_each_row_a_default() {
    let rows = Options::rows();
    for key in serde_json::to_value(Options::default()).unwrap().as_object().unwrap().keys() {
        assert!(rows.iter().any(|row| row.path == key), "{key} has no row");
    }
    for row in &rows {
        let derived = row.follows.is_some() || row.rule == Rule::Group;
        assert_eq!(row.default.is_null(), derived, "{}", row.path);
    }
}

#[test]
fn defaults_round_trip() {
    assert_eq!(Options::from_json(&complete().to_string()), Ok(Options::default()));
    let named = with("instanceVar", json!("SLOT")).unwrap();
    assert_eq!(named.instance_var.as_deref(), Some("SLOT"));
    assert_eq!(with("startUpLimit", json!(0)).unwrap().start_up_limit, None);
    assert_eq!(with("restart", json!("on-failure")).unwrap().restart, RestartPolicy::OnFailure);
}

#[test]
fn memory_may_be_a_fraction_and_workers_may_follow_the_cpus() {
    let options = with("recycle.memory", json!("80%")).unwrap();
    assert_eq!((options.recycle.memory, options.recycle.memory_share), (None, Some(0.8)));
    let options = with("recycle.memory", json!(5)).unwrap();
    assert_eq!((options.recycle.memory, options.recycle.memory_share), (Some(5), None));
    for wrong in ["0%", "101%", "80", "8.5%", "-1%", "+8%", " 8%", "%", ""] {
        assert_eq!(with("recycle.memory", json!(wrong)).unwrap_err().path, "recycle.memory", "{wrong}");
    }
    let mut marked = complete();
    assert!(!Options::from_json(&marked.to_string()).unwrap().follow_cpus);
    marked["followCpus"] = json!(true);
    assert!(Options::from_json(&marked.to_string()).unwrap().follow_cpus);
}

#[test]
fn each_limit_is_checked() {
    for row in Options::rows() {
        let wrong = match row.rule {
            Rule::Whole { max, .. } | Rule::WholeOrAuto { max, .. } => vec![json!(max + 1), json!("1")],
            Rule::OffOrWhole { least, max, .. } => vec![json!(least - 1), json!(max + 1), json!(1.5)],
            Rule::Fraction { min, max } => vec![json!(max + 1), json!(f64::from(min) - 0.5), json!(null)],
            Rule::ListOfWhole { max, .. } => vec![json!([max + 1]), json!(1)],
            Rule::Words { .. } => vec![json!("neither"), json!(1)],
            Rule::Memory { max } => vec![json!(max + 1), json!("80"), json!(null)],
            Rule::Flag => vec![json!(1)],
            Rule::Variable => vec![json!("A=B"), json!("RCLUSTER_LINK"), json!(true)],
            Rule::Address { .. } => vec![json!(9090), json!(":9090"), json!("example.com:80")],
            Rule::Place { .. } => vec![json!(1), json!(""), json!("a\0b")],
            Rule::Group => vec![json!(1), json!([])],
            Rule::Log { .. } => vec![],
        };
        for value in wrong {
            let refused = with(row.path, value.clone());
            assert_eq!(refused.unwrap_err().received, value.to_string(), "{}", row.path);
        }
    }
}

#[test]
fn what_is_missing_unknown_or_contradictory_is_named() {
    let mut options = complete();
    options.as_object_mut().unwrap().remove("standby");
    assert_eq!(Options::from_json(&options.to_string()).unwrap_err().path, "standby");
    options = complete();
    options["backoff"]["delay"] = json!(5);
    assert_eq!(Options::from_json(&options.to_string()).unwrap_err().path, "backoff.delay");
    assert_eq!(with("backoff.max", json!(99)).unwrap_err().path, "backoff.max");
    assert_eq!(Options::from_json("[").unwrap_err().path, "");
}
