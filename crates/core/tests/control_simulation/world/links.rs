//! Outputs that reach a worker: replies, frames, the end of its link, and signals.

use super::*;

impl World {
    pub(super) fn on_reply(&mut self, worker: WorkerId, reply: Reply) -> Vec<Input> {
        if reply.shared && self.exhausted {
            self.fail_for_want_of_descriptors("reply failed");
            return vec![Input::ReplyFailed { worker, reply, errno: NO_DESCRIPTORS }];
        }
        let Some(process) = self.processes.get_mut(&worker).filter(|it| it.linked) else { return Vec::new() };
        let port = process.asked.remove(&reply.seq);
        assert!(port.is_some(), "{worker} has not asked for {reply:?}");
        if let Some(listener) = reply.listener.filter(|_| reply.errno == 0) {
            process.listeners.insert(listener);
            let after = self.random.ms(0, 10);
            self.plan(after, Due::Deed(worker, Deed::Listen(listener)));
        } else {
            self.count("refused");
            let exit = Deed::Exit(ExitKind::Code(1));
            self.plan(Duration::from_millis(1), Due::Deed(worker, exit));
        }
        Vec::new()
    }

    pub(super) fn on_frame(&mut self, worker: WorkerId, frame: &ToWorker) {
        let Some(process) = self.processes.get_mut(&worker).filter(|it| it.linked) else { return };
        match frame {
            ToWorker::Drain(_) => {
                process.goes = true;
                let (drain, code) = (process.drain, process.code);
                self.count("drain");
                self.plan(Duration::from_millis(1), Due::Deed(worker, Deed::Leave));
                if let Some(drain) = drain {
                    let exit = Deed::Exit(ExitKind::Code(code));
                    self.plan(drain + Duration::from_millis(2), Due::Deed(worker, exit));
                }
            }
            ToWorker::Promote { slot } => assert_eq!(process.slot, Some(*slot)),
            _ => {}
        }
    }

    pub(super) fn unlink(&mut self, worker: WorkerId) {
        self.count("unlink");
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.linked = false;
        process.asked.clear();
        if process.obeys_term {
            let after = self.random.ms(0, 1_500);
            self.plan(after, Due::Deed(worker, Deed::Exit(ExitKind::Code(70))));
        }
    }

    pub(super) fn signal(&mut self, worker: WorkerId, signal: KillSignal) {
        let after = self.random.ms(0, 20);
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.goes = true;
        match signal {
            KillSignal::Term if process.obeys_term => {
                self.plan(after, Due::Deed(worker, Deed::Exit(ExitKind::Signal(15))));
            }
            KillSignal::Term => {}
            KillSignal::Kill => {
                process.killed = true;
                self.plan(after, Due::Deed(worker, Deed::Exit(ExitKind::Signal(9))));
            }
        }
    }
}
