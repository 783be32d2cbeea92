//! Random options.

use std::time::Duration;

use rcluster_core::control::supervise::{Backoff, Intensity, OnGiveUp, Options, ReadyWhen, RestartPolicy};

use rcluster_core::random::Random;

pub(crate) fn any(random: &mut Random, gentle: bool) -> Options {
    let ms = Duration::from_millis;
    let plenty = Intensity { max: 100_000, period: ms(1_000) };
    let few = Intensity { max: u32::try_from(3 + random.below(12)).unwrap(), period: ms(2_000) };
    let policies = [RestartPolicy::Always, RestartPolicy::Always, RestartPolicy::OnFailure];
    Options {
        workers: u32::try_from(1 + random.below(4)).unwrap(),
        standby: u32::try_from(random.below(3)).unwrap(),
        restart: if gentle { RestartPolicy::Always } else { random.pick(&policies).unwrap() },
        restart_intensity: if gentle { plenty } else { few },
        total_intensity: if gentle { plenty } else { few },
        backoff: Backoff { initial: ms(20), max: ms(200), reset_after: ms(100), ..Backoff::default() },
        on_give_up: if !gentle && random.one_in(4) { OnGiveUp::Exit } else { OnGiveUp::Degrade },
        ready: random.pick(&[ReadyWhen::Listening, ReadyWhen::Listening, ReadyWhen::Explicit]).unwrap(),
        ready_timeout: ms(500),
        drain_timeout: ms(200),
        kill_timeout: ms(100),
        shutdown_timeout: ms(200),
        sample_period: ms(50),
        ..Options::default()
    }
}
