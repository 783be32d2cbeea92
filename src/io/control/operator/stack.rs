//! The stack of the primary's JavaScript.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use rcluster_js::v8::Interrupter;
use rcluster_sys::error::SysError;

/// The requests that wait for the stack. One interrupt of V8 answers them all.
type Asking = Arc<Mutex<Vec<oneshot::Sender<String>>>>;

/// Reads the stack of the primary's main thread.
#[derive(Debug)]
pub struct PrimaryStack {
    interrupter: Result<Interrupter, SysError>,
    asking: Asking,
}

impl PrimaryStack {
    /// `interrupter` interrupts the primary's main thread; an error says why that is impossible.
    #[must_use]
    pub fn new(interrupter: Result<Interrupter, SysError>) -> Self {
        Self { interrupter, asking: Asking::default() }
    }

    /// The stack, as soon as JavaScript runs. The caller must set a time limit.
    pub(super) fn ask(&self) -> impl Future<Output = Result<String, String>> + 'static {
        let (tell, told) = oneshot::channel();
        let failure = self.interrupter.as_ref().err().map(ToString::to_string);
        if let Ok(interrupter) = &self.interrupter {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            // Removes requests that have timed out.
            asking.retain(|asking| !asking.is_closed());
            asking.push(tell);
            drop(asking);
            let asking = Arc::clone(&self.asking);
            // Dropped if an interrupt is pending already: that one answers all requests.
            interrupter.stack(move |stack| {
                let asking = std::mem::take(&mut *asking.lock().unwrap_or_else(PoisonError::into_inner));
                for tell in asking {
                    // The send fails if the requester did not wait.
                    let _late = tell.send(stack.clone());
                }
            });
        }
        async move {
            match failure {
                Some(failure) => Err(failure),
                None => told.await.map_err(|_| "the primary's JavaScript has ended".to_owned()),
            }
        }
    }
}
