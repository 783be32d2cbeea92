//! The JavaScript stack of the main thread, requested by another thread.
//!
//! Any thread can request that V8 call a function on the thread that runs JavaScript, in the middle of
//! whatever it is doing: loops, deep calls, regular expressions. That function reads the stack. V8's
//! functions are looked up at run time by their mangled C++ names; if one is missing, stacks are not
//! available, and nothing else is affected.
//!
//! # Design
//! V8 forbids running JavaScript in such a call, and the `stack` of an error is produced by JavaScript
//! (Node's, and the application's `Error.prepareStackTrace`). So the frames are read one by one with
//! functions of V8 that run no JavaScript, and are formatted here in the same way as V8 does.

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

/// The maximum number of frames.
const FRAMES: c_int = 100;

/// `kDetailed` and `kExposeFramesAcrossSecurityOrigins`: all details, including frames of other contexts.
const OPTIONS: c_int = 0x17f;

/// The maximum length of a function's or file's name, in bytes.
const NAME: usize = 512;

type Isolate = c_void;
type Interrupt = unsafe extern "C" fn(*mut Isolate, *mut c_void);
/// `v8::Local`: one word, called `napi_value` in Node-API; null if empty.
type Local = napi_value;

/// `v8::Location`. Both count from 0.
#[repr(C)]
#[derive(Clone, Copy)]
struct Location {
    line: c_int,
    column: c_int,
}

/// The V8 functions used, all of them members: the first argument is `this`, or the isolate.
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

/// Looks up a function of V8, with the type of the field it is assigned to.
macro_rules! member {
    ($name:literal) => {{
        let found = symbol(concat!($name, "\0"))?;
        // SAFETY: the mangled name determines class, constness and parameters, which match the field's type.
        // On the supported machines `this` is passed as the first argument, and a `Local` or `Location` is
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
    // SAFETY: `name` ends with a NUL. Looking up a symbol has no side effects.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
    NonNull::new(found).ok_or(Errno::ENOSYS).doing("finding V8's stack functions in this process")
}

/// The isolate of the main thread and its Node-API environment, while they exist.
#[derive(Clone, Copy)]
struct Target {
    v8: V8,
    isolate: NonNull<Isolate>,
    env: napi_env,
}

// SAFETY: `isolate` is used from other threads for RequestInterrupt only, which is designed for that, under
// the lock that the end of the environment takes as well. `env` is used on its own thread only.
unsafe impl Send for Target {}

/// Requests the stack of the main thread, from any thread.
#[derive(Clone)]
pub struct Interrupter {
    /// `None` once the environment has ended.
    target: Arc<Mutex<Option<Target>>>,
    /// Whether an interrupt has been requested and has not run yet.
    pending: Arc<AtomicBool>,
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}

/// The data of an interrupt, which V8 passes to the callback.
struct Request {
    target: Target,
    pending: Arc<AtomicBool>,
    then: Box<dyn FnOnce(String) + Send>,
}

impl Interrupter {
    /// Must be created on the thread that runs the JavaScript of `env`. ENOSYS if V8 lacks a function.
    pub fn new(env: napi::Env) -> Result<Self, SysError> {
        let v8 = V8::find()?;
        let get_current: unsafe extern "C" fn() -> *mut Isolate = member!("_ZN2v87Isolate13TryGetCurrentEv");
        // SAFETY: it reads a thread-local variable.
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

    /// Calls `then` with the stack, on the main thread, once that reaches a point where V8 checks for
    /// interrupts: soon if it runs JavaScript, later or never if it is in a system call. While an earlier
    /// request has not been answered, `then` is dropped: that answer serves as well.
    pub fn stack(&self, then: impl FnOnce(String) + Send + 'static) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = *target else { return };
        // The lock is held until V8 has the request: the environment must not end in between.
        if self.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let request = Request { target, pending: Arc::clone(&self.pending), then: Box::new(then) };
        let request = Box::into_raw(Box::new(request));
        let isolate = target.isolate.as_ptr();
        // SAFETY: the isolate is alive, since the lock is held. V8 owns the request until it calls back.
        unsafe { (target.v8.request_interrupt)(isolate, on_interrupt, request.cast()) };
    }
}

unsafe extern "C" fn on_interrupt(_isolate: *mut Isolate, request: *mut c_void) {
    // SAFETY: created by Box::into_raw in `stack`; V8 calls once.
    let Request { target, pending, then } = *unsafe { Box::from_raw(request.cast::<Request>()) };
    pending.store(false, Ordering::Release);
    // A panic must not unwind into V8. The hook has printed the message; there is no answer then.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut scope = null_mut();
        // SAFETY: V8 calls on the environment's thread while the environment is alive.
        if unsafe { napi::sys::napi_open_handle_scope(target.env, &raw mut scope) } != Status::napi_ok {
            return;
        }
        then(target.describe());
        // SAFETY: opened above.
        unsafe { napi::sys::napi_close_handle_scope(target.env, scope) };
    }));
}

impl Target {
    /// One line for each frame, in the format of V8's error stacks.
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

    /// The text of a V8 string; empty for other values.
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
