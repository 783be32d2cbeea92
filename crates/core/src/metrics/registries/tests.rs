use super::*;

fn counter(value: &str) -> String {
    format!(
        r#"[{{"name":"jobs_total","help":"Jobs.","type":"counter","aggregator":"sum",
        "values":[{{"value":{value},"labels":{{"kind":"a\"b","code":200}}}}]}},
        {{"name":"size","help":"","type":"gauge","aggregator":"max","values":[{{"value":{value},"labels":{{}}}}]}},
        {{"name":"rate","help":"","type":"gauge","aggregator":"average","values":[{{"value":{value}}}]}},
        {{"name":"own","help":"","type":"gauge","aggregator":"omit","values":[{{"value":1}}]}},
        {{"name":"time","help":"","type":"histogram","aggregator":"sum","values":[
          {{"value":1,"labels":{{"le":2}},"metricName":"time_bucket"}},{{"value":1,"labels":{{"le":10}},"metricName":"time_bucket"}},
          {{"value":1,"labels":{{"le":"+Inf"}},"metricName":"time_bucket"}},{{"value":1.5,"metricName":"time_sum"}},
          {{"value":1,"metricName":"time_count"}}]}}]"#
    )
}

#[test]
fn samples_are_put_together_as_their_metric_says() {
    let mut registries = Registries::default();
    assert_eq!(registries.text(Format::Prometheus), "");
    assert!(
        registries.on_report(WorkerId(1), &counter("2")) && registries.on_report(WorkerId(2), &counter("4"))
    );
    let text = registries.text(Format::OpenMetrics);
    for line in [
        "# TYPE jobs counter",
        "# HELP jobs Jobs.",
        "jobs_total{code=\"200\",kind=\"a\\\"b\"} 6",
        "size 4",
        "rate 3",
        "time_sum 3",
        "time_count 2",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let buckets: Vec<&str> = text.lines().filter(|line| line.starts_with("time_bucket")).collect();
    assert_eq!(
        buckets,
        ["time_bucket{le=\"2\"} 2", "time_bucket{le=\"10\"} 2", "time_bucket{le=\"+Inf\"} 2"]
    );
    assert!(!text.contains("own"));
    assert!(registries.text(Format::Prometheus).contains("# TYPE jobs_total counter\njobs_total{"));
}

#[test]
fn what_a_worker_has_counted_outlives_it_and_what_it_has_measured_does_not() {
    let mut registries = Registries::default();
    for (worker, value) in [(1, "2"), (2, "4"), (2, "5")] {
        assert!(registries.on_report(WorkerId(worker), &counter(value)));
    }
    registries.on_exit(WorkerId(2));
    registries.on_exit(WorkerId(2));
    let text = registries.text(Format::Prometheus);
    assert!(text.contains("} 7\n") && text.contains("size 2\n") && text.contains("time_count 2\n"), "{text}");
    registries.on_exit(WorkerId(1));
    let text = registries.text(Format::Prometheus);
    assert!(text.contains("} 7\n") && !text.contains("size"), "{text}");
}

#[test]
fn what_is_no_metric_is_left_out() {
    let mut registries = Registries::default();
    let worker = WorkerId(1);
    for text in ["", "{}", "[1]", "[{\"name\":\"a\"}]", r#"[{"name":"a","type":"other","values":[]}]"#] {
        assert!(!registries.on_report(worker, text), "{text}");
    }
    let metric = |name: &str, rest: &str| {
        format!(r#"{{"name":"{name}","help":"x\ny 1","type":"counter","values":[{{"value":1{rest}}}]}}"#)
    };
    let list = [
        metric("good", ""),
        metric("good", ""),
        metric("9bad", ""),
        metric("bad{", ""),
        metric("", ""),
        metric("evil", r#","labels":{"a\"b":"1"}"#),
        metric("rcluster_worker_boot_seconds_count", ""),
        metric("other", r#","metricName":"good""#),
        r#"{"name":"odd","type":"gauge","values":[{"value":"NaN"}]}"#.into(),
        r#"{"name":"lost","type":"gauge","values":[{"value":"1\nx 2"}]}"#.into(),
    ];
    assert!(registries.on_report(worker, &format!("[{}]", list.join(","))));
    let text = registries.text(Format::Prometheus);
    assert_eq!(
        text,
        "# HELP good x\\ny 1\n# TYPE good counter\ngood 1\n# HELP odd \n# TYPE odd gauge\nodd NaN\n"
    );
}

#[test]
fn a_name_that_is_taken_is_not_used_again() {
    let mut registries = Registries::default();
    assert!(registries.on_report(WorkerId(1), &counter("1")));
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let mut to = Exposition::new(format);
        to.family(super::super::Kind::Counter, "jobs", "Ours.").add(&[], 3.0);
        registries.write(&mut to);
        assert_eq!(
            to.finish().matches("jobs_total").count(),
            usize::from(format == Format::Prometheus) * 2 + 1
        );
    }
}

#[test]
fn a_counter_is_shown_beside_another_metric_that_differs_only_by_total() {
    type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
    let report = |metrics: &[(&str, &str)]| {
        let metric = |(name, kind): &(&str, &str)| {
            format!(r#"{{"name":"{name}","type":"{kind}","values":[{{"value":1}}]}}"#)
        };
        format!("[{}]", metrics.iter().map(metric).collect::<Vec<_>>().join(","))
    };
    let cases: [Case; 5] = [
        (&[("a", "gauge"), ("a_total", "counter")], &["a gauge\na 1", "a_total unknown\na_total 1"]),
        (&[("a_total", "gauge"), ("a", "counter")], &["a_total gauge\na_total 1", "a unknown\na 1"]),
        (&[("a_total", "counter"), ("a", "counter")], &["a unknown\na 1", "a_total unknown\na_total 1"]),
        (
            &[("a_total", "counter"), ("a_total_total", "counter")],
            &["a counter\na_total 1", "a_total_total unknown\na_total_total 1"],
        ),
        (&[("a", "counter")], &["a counter\na_total 1"]),
    ];
    for (metrics, expected) in cases {
        let mut registries = Registries::default();
        assert!(registries.on_report(WorkerId(1), &report(metrics)));
        let text = registries.text(Format::OpenMetrics);
        for lines in expected {
            assert!(text.contains(&format!("# TYPE {lines}\n")), "{lines}: {text}");
        }
        let text = registries.text(Format::Prometheus);
        for (name, kind) in metrics {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n{name} 1\n")), "{name}: {text}");
        }
    }
}

/// Reports of metrics with these numbers of samples, each with a label of this length.
fn report(name: &str, samples: usize, length: usize) -> String {
    let text = "x".repeat(length);
    let sample = |number| format!(r#"{{"value":1,"labels":{{"a":"{name} {number} {text}"}}}}"#);
    let samples: Vec<String> = (0..samples).map(sample).collect();
    format!(r#"[{{"name":"{name}","type":"counter","values":[{}]}}]"#, samples.join(","))
}

#[test]
fn what_ended_workers_leave_is_limited_in_bytes() {
    let mut registries = Registries::default();
    for worker in 0..5 {
        assert!(registries.on_report(WorkerId(worker), &report(&format!("long{worker}"), 4, 1 << 20)));
        registries.on_exit(WorkerId(worker));
    }
    assert!(registries.text(Format::Prometheus).len() <= MAX_BYTES + 4096);
    // Shorter ones still fit. None leaves a name without samples.
    assert!(registries.on_report(WorkerId(5), &report("short", 100, 1)));
    registries.on_exit(WorkerId(5));
    assert!(registries.on_report(WorkerId(6), &report("longest", 1, 4 << 20)));
    registries.on_exit(WorkerId(6));
    let ended = |name: &str| registries.ended.sums().0.get(name).map(|it| it.order.len());
    let found = ["long1", "long2", "long3", "long4", "short", "longest"].map(ended);
    assert_eq!(found, [Some(4), Some(3), Some(2), Some(1), Some(100), None]);
}

#[test]
fn a_worker_leaves_room_for_the_metrics_of_others() {
    for has_ended in [false, true] {
        let mut registries = Registries::default();
        for worker in 0..2 {
            assert!(registries.on_report(WorkerId(worker), &report(&format!("junk{worker}"), 60_000, 1)));
            if has_ended {
                registries.on_exit(WorkerId(worker));
            }
        }
        for worker in 2..5 {
            assert!(registries.on_report(WorkerId(worker), &report("jobs", 100, 1)));
        }
        let text = registries.text(Format::Prometheus);
        assert_eq!(text.matches("\njunk0{").count(), MAX_SAMPLES / 2);
        let jobs: Vec<&str> = text.lines().filter(|line| line.starts_with("jobs{")).collect();
        assert_eq!(jobs.len(), 100);
        assert!(jobs.iter().all(|line| line.ends_with(" 3")), "all workers count: {jobs:?}");
    }
}
