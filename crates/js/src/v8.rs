//! The JavaScript stack of the main thread, asked for by another thread.
//!
//! V8 can be asked from any thread to call a function on the thread that runs JavaScript, in the midst of
//! whatever that is doing: loops, deep calls, regular expressions. There the stack is read. V8's functions
//! are looked up at run time by the names that the C++ compiler gives them; where one is missing, stacks
//! cannot be had, and nothing else is the worse for it.
//!
//! # Design
//! V8 forbids to run JavaScript in such a call, and the `stack` of an error is made by JavaScript (Node's,
//! and the application's `Error.prepareStackTrace`). So the frames are read one by one by functions of V8
//! that run none, and are put into words here, as V8 would.

use std::ffi::{c_int, c_void};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use napi::sys::{Status, napi_env, napi_value};
use nix::errno::Errno;
use nix::libc;

use rcluster_sys::error::{Doing, SysError};

/// The most frames that are put into words.
const FRAMES: c_int = 100;

/// `kDetailed` and `kExposeFramesAcrossSecurityOrigins`: all there is, frames of other contexts too.
const OPTIONS: c_int = 0x17f;

/// The longest name of a function or a file that is read, in bytes.
const NAME: usize = 512;

type Isolate = c_void;
type Interrupt = unsafe extern "C" fn(*mut Isolate, *mut c_void);
/// `v8::Local`: one word, which Node-API calls `napi_value`; null when empty.
type Local = napi_value;

/// `v8::Location`. Both count from 0.
#[repr(C)]
#[derive(Clone, Copy)]
struct Location {
    line: c_int,
    column: c_int,
}

/// The functions of V8 that are used, all of them members: the first argument is `this`, or the isolate.
#[derive(Clone, Copy)]
struct V8 {
    request_interrupt: unsafe extern "C" fn(*mut Isolate, Interrupt, *mut c_void),
    current_stack_trace: unsafe extern "C" fn(*mut Isolate, c_int, c_int) -> Local,
    frame_count: unsafe extern "C" fn(Local) -> c_int,
    frame: unsafe extern "C" fn(Local, *mut Isolate, u32) -> Local,
    location: unsafe extern "C" fn(Local) -> Location,
    script: unsafe extern "C" fn(Local) -> Local,
    function: unsafe extern "C" fn(Local) -> Local,
    is_eval: unsafe extern "C" fn(Local) -> bool,
    is_constructor: unsafe extern "C" fn(Local) -> bool,
}

/// Looks a function of V8 up and gives it the type of the place that it is for.
macro_rules! member {
    ($name:literal) => {{
        let found = symbol(concat!($name, "\0"))?;
        // SAFETY: the mangled name tells class, constness and parameters; the field's type says the same. On
        // the machines that we run on `this` is passed as a first argument, and a `Local` or `Location` is
        // returned as one word.
        #[allow(clippy::missing_transmute_annotations, reason = "the type stands at the place it is for")]
        let function = unsafe { std::mem::transmute::<NonNull<c_void>, _>(found) };
        function
    }};
}

impl V8 {
    fn find() -> Result<Self, SysError> {
        Ok(Self {
            request_interrupt: member!("_ZN2v87Isolate16RequestInterruptEPFvPS0_PvES2_"),
            current_stack_trace: member!(
                "_ZN2v810StackTrace17CurrentStackTraceEPNS_7IsolateEiNS0_17StackTraceOptionsE"
            ),
            frame_count: member!("_ZNK2v810StackTrace13GetFrameCountEv"),
            frame: member!("_ZNK2v810StackTrace8GetFrameEPNS_7IsolateEj"),
            location: member!("_ZNK2v810StackFrame11GetLocationEv"),
            script: member!("_ZNK2v810StackFrame24GetScriptNameOrSourceURLEv"),
            function: member!("_ZNK2v810StackFrame15GetFunctionNameEv"),
            is_eval: member!("_ZNK2v810StackFrame6IsEvalEv"),
            is_constructor: member!("_ZNK2v810StackFrame13IsConstructorEv"),
        })
    }
}

fn symbol(name: &'static str) -> Result<NonNull<c_void>, SysError> {
    // SAFETY: `name` ends with a NUL. Looking a symbol up has no effect.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
    NonNull::new(found).ok_or(Errno::ENOSYS).doing("finding V8's stack functions in this process")
}

/// The isolate of the main thread and its Node-API environment, as long as they exist.
#[derive(Clone, Copy)]
struct Target {
    v8: V8,
    isolate: NonNull<Isolate>,
    env: napi_env,
}

// SAFETY: `isolate` is used from other threads for RequestInterrupt only, which is made for that, under
// the lock that the end of the environment takes as well. `env` is used on its own thread only.
unsafe impl Send for Target {}

/// Asks the main thread for its stack, from any thread.
#[derive(Clone)]
pub struct Interrupter {
    /// None once the environment has ended.
    target: Arc<Mutex<Option<Target>>>,
    /// V8 has been asked and has not called yet.
    pending: Arc<AtomicBool>,
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}

/// What V8 is given, and gives back when it calls.
struct Request {
    target: Target,
    pending: Arc<AtomicBool>,
    then: Box<dyn FnOnce(String) + Send>,
}

impl Interrupter {
    /// To be made on the thread that runs the JavaScript of `env`. ENOSYS where V8 lacks a function.
    pub fn new(env: napi::Env) -> Result<Self, SysError> {
        let v8 = V8::find()?;
        let get_current: unsafe extern "C" fn() -> *mut Isolate = member!("_ZN2v87Isolate13TryGetCurrentEv");
        // SAFETY: it reads a variable of this thread.
        let isolate = NonNull::new(unsafe { get_current() });
        let isolate = isolate.ok_or(Errno::ESRCH).doing("finding the isolate of this thread")?;
        let target = Arc::new(Mutex::new(Some(Target { v8, isolate, env: env.raw() })));
        let ending = Arc::clone(&target);
        // On process.exit() hooks do not run; then the isolate lives as long as the process.
        env.add_env_cleanup_hook((), move |()| {
            *ending.lock().unwrap_or_else(PoisonError::into_inner) = None;
        })
        .map_err(|_| Errno::EINVAL)
        .doing("adding a cleanup hook")?;
        Ok(Self { target, pending: Arc::default() })
    }

    /// Calls `then` with the stack, on the main thread, once that comes to a place where V8 looks for
    /// requests: soon if it runs JavaScript, later or never if it waits in the system. As long as an earlier
    /// request has not been answered, `then` is dropped: that answer is as good.
    pub fn stack(&self, then: impl FnOnce(String) + Send + 'static) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = *target else { return };
        // Held on to until V8 knows: the environment must not end in between.
        if self.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let request = Request { target, pending: Arc::clone(&self.pending), then: Box::new(then) };
        let request = Box::into_raw(Box::new(request));
        let isolate = target.isolate.as_ptr();
        // SAFETY: the isolate is alive, since the lock is held. The request is V8's until it calls.
        unsafe { (target.v8.request_interrupt)(isolate, on_interrupt, request.cast()) };
    }
}

unsafe extern "C" fn on_interrupt(_isolate: *mut Isolate, request: *mut c_void) {
    // SAFETY: made by Box::into_raw in `stack`; V8 calls once.
    let Request { target, pending, then } = *unsafe { Box::from_raw(request.cast::<Request>()) };
    pending.store(false, Ordering::Release);
    // A panic must not unwind into V8. The hook has printed it; there is no answer then.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut scope = null_mut();
        // SAFETY: V8 calls on the thread of the environment while that is alive.
        if unsafe { napi::sys::napi_open_handle_scope(target.env, &raw mut scope) } != Status::napi_ok {
            return;
        }
        then(target.describe());
        // SAFETY: opened above.
        unsafe { napi::sys::napi_close_handle_scope(target.env, scope) };
    }));
}

impl Target {
    /// One line for each frame, as V8 writes them under an error.
    fn describe(&self) -> String {
        let isolate = self.isolate.as_ptr();
        let mut text = String::new();
        // SAFETY: on the isolate's thread, within a handle scope.
        let trace = unsafe { (self.v8.current_stack_trace)(isolate, FRAMES, OPTIONS) };
        if trace.is_null() {
            return text;
        }
        // SAFETY: a trace of this scope. The same for each of its frames.
        let count = unsafe { (self.v8.frame_count)(trace) };
        for index in 0..u32::try_from(count).unwrap_or(0) {
            // SAFETY: see above; index < count.
            let frame = unsafe { (self.v8.frame)(trace, isolate, index) };
            if !frame.is_null() {
                self.describe_frame(frame, &mut text);
            }
        }
        text
    }

    fn describe_frame(&self, frame: Local, text: &mut String) {
        // SAFETY: a frame of the current scope. The same for the following.
        let function = self.read(unsafe { (self.v8.function)(frame) });
        // SAFETY: see above.
        let script = self.read(unsafe { (self.v8.script)(frame) });
        // SAFETY: see above.
        let Location { line, column } = unsafe { (self.v8.location)(frame) };
        // SAFETY: see above.
        let constructor = unsafe { (self.v8.is_constructor)(frame) };
        // SAFETY: see above.
        let eval = unsafe { (self.v8.is_eval)(frame) };
        let script = match (script.as_str(), eval) {
            ("", true) => "eval",
            ("", false) => "<anonymous>",
            (name, _) => name,
        };
        let (new, line, column) = (if constructor { "new " } else { "" }, line + 1, column + 1);
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing into a String cannot fail.
        let _ = if function.is_empty() {
            write!(text, "    at {new}{script}:{line}:{column}")
        } else {
            write!(text, "    at {new}{function} ({script}:{line}:{column})")
        };
    }

    /// The text of a string of V8; nothing for what is none.
    fn read(&self, string: Local) -> String {
        if string.is_null() {
            return String::new();
        }
        let mut bytes = [0_u8; NAME];
        let mut length = 0;
        // SAFETY: `string` is a value of this env and scope; at most NAME bytes are written.
        let status = unsafe {
            napi::sys::napi_get_value_string_utf8(
                self.env,
                string,
                bytes.as_mut_ptr().cast(),
                NAME,
                &raw mut length,
            )
        };
        if status != Status::napi_ok {
            return String::new();
        }
        String::from_utf8_lossy(&bytes[..length.min(NAME)]).into_owned()
    }
}
