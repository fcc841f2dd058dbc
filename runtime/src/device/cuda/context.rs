//! The driver, one GPU's primary context, one stream, and the kernels loaded into it.
//!
//! Invariant: outside of [`Context::enter`] the thread's current context is what its owner left
//! there, so a framework that shares the thread notices nothing. A kernel is loaded once and lives
//! as long as the context; what identifies it is its name and its whole text, compared, not hashed.

use crate::Error;
use crate::device::gpu::memory::{Parameter, Ptx};
use baton_codegen::target::Launch;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::Mutex;

pub(super) const NAME: &str = "cuda";

pub(super) fn failed(reason: impl ToString) -> Error {
    Error::Unsupported {
        device: NAME.into(),
        reason: reason.to_string(),
    }
}

/// The first driver that reads PTX 8.0.
const OLDEST_DRIVER: u32 = 12000;
/// Dynamic shared memory that a kernel has without asking.
const SHARED_BY_DEFAULT: u32 = 48 * 1024;
/// Bytes of what the driver's assembler may say about a text.
const LOG_BYTES: usize = 8192;

/// A kernel in the context.
#[derive(Clone, Copy)]
pub(super) struct Function(sys::CUfunction);

struct Loaded {
    ptx: String,
    module: sys::CUmodule,
    function: Function,
}

pub(super) struct Context {
    pub gpu: String,
    pub driver: u32,
    pub capability: (u32, u32),
    /// Bytes of shared memory that a block may ask for.
    pub shared_limit: u32,
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub stream: sys::CUstream,
    /// By kernel name; kernels of one name differ in sizes.
    loaded: Mutex<HashMap<String, Vec<Loaded>>>,
}

// SAFETY: the handles are the driver's, which any thread may use once the context is current there
// (`enter`); the table of kernels is behind its lock.
unsafe impl Send for Context {}
unsafe impl Sync for Context {}

/// Restores the thread's context.
pub(super) struct Entered(Option<sys::CUcontext>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.unwrap_or(std::ptr::null_mut());
        // SAFETY: it was this thread's context before, or none. A failure leaves ours current.
        let _ = unsafe { result::ctx::set_current(before) };
    }
}

/// What the driver says, under what was tried.
pub(super) fn check<T>(what: &str, result: Result<T, DriverError>) -> Result<T, Error> {
    result.map_err(|why| {
        let said = why.error_string().map(CStr::to_string_lossy);
        let said = said.unwrap_or_else(|_| "no description".into());
        failed(format!("{what}: {said} ({:?})", why.0))
    })
}

impl Context {
    /// The number of GPUs; starts the driver.
    pub fn count() -> Result<usize, Error> {
        // SAFETY: loads the driver's library and lets it go again.
        if !unsafe { sys::is_culib_present() } {
            return Err(failed(
                "the library of the NVIDIA driver (libcuda.so.1) was not found; it comes with the \
                 driver, not with a toolkit. Devices `cpu` and `emulator` need none",
            ));
        }
        check("the NVIDIA driver does not start", result::init())?;
        let count = check("the number of GPUs", result::device::get_count())?;
        Ok(count.max(0) as usize)
    }

    pub fn new(ordinal: usize) -> Result<Self, Error> {
        let count = Self::count()?;
        let mut driver = 0;
        // SAFETY: writes one number.
        let version = unsafe { sys::cuDriverGetVersion(&mut driver) };
        check("the driver's version", version.result())?;
        let driver = driver as u32;
        if driver < OLDEST_DRIVER {
            return Err(failed(format!(
                "the NVIDIA driver is for CUDA {}.{}, the kernels need 12.0 or later",
                driver / 1000,
                driver % 1000 / 10
            )));
        }
        if ordinal >= count {
            return Err(failed(format!(
                "there is no GPU {ordinal}: the driver has {count}, counted from 0"
            )));
        }
        let device = check("the GPU", result::device::get(ordinal as i32))?;
        let ask = |attribute| {
            // SAFETY: `device` comes from the driver.
            let value = unsafe { result::device::get_attribute(device, attribute) };
            check("an attribute of the GPU", value).map(|value| value as u32)
        };
        use sys::CUdevice_attribute as Attribute;
        let capability = (
            ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let shared_limit = ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let gpu = check("the GPU's name", result::device::get_name(device))?;
        // SAFETY: `device` comes from the driver; `drop` releases what is retained here.
        let context = check("the GPU's context", unsafe {
            result::primary_ctx::retain(device)
        })?;
        let mut made = Self {
            gpu,
            driver,
            capability,
            shared_limit,
            device,
            context,
            stream: std::ptr::null_mut(),
            loaded: Mutex::default(),
        };
        let entered = made.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        made.stream = check("a stream", stream)?;
        drop(entered);
        Ok(made)
    }

    /// Makes the context this thread's, until the value returned is dropped.
    pub fn enter(&self) -> Result<Entered, Error> {
        let before = check("the thread's context", result::ctx::get_current())?;
        // SAFETY: the context is retained as long as `self`.
        check("entering the GPU's context", unsafe {
            result::ctx::set_current(self.context)
        })?;
        Ok(Entered(before))
    }

    /// The kernel `name` of a text, loaded at its first use; the context is entered.
    pub fn function(&self, name: &str, kernel: &Ptx) -> Result<Function, Error> {
        let mut loaded = self.loaded.lock().expect("no holder of this lock panics");
        let same = loaded.entry(name.to_string()).or_default();
        if let Some(found) = same.iter().find(|found| found.ptx == kernel.text) {
            return Ok(found.function);
        }
        let module = load(name, &kernel.text)?;
        let function = configure(module, name, kernel.launch.shared_bytes).inspect_err(|_| {
            // SAFETY: nothing refers to the module yet.
            let _ = unsafe { result::module::unload(module) };
        })?;
        same.push(Loaded {
            ptx: kernel.text.clone(),
            module,
            function,
        });
        Ok(function)
    }

    /// Puts a launch on `stream`; the context is entered.
    ///
    /// # Safety
    /// The parameters are those of the kernel's text, and the memory they name is the kernel's to
    /// use until the stream has passed this launch.
    pub unsafe fn launch(
        &self,
        function: Function,
        launch: &Launch,
        [x, y]: [u32; 2],
        parameters: &[Parameter],
        stream: sys::CUstream,
    ) -> Result<(), Error> {
        // The driver reads four bytes of an i32 and eight of an i64, from the lowest on.
        let mut words: Vec<u64> = parameters
            .iter()
            .map(|parameter| match *parameter {
                Parameter::Int(value) => u64::from_ne_bytes(narrow(value)),
                Parameter::Long(value) => value as u64,
            })
            .collect();
        let mut pointers: Vec<*mut c_void> = words
            .iter_mut()
            .map(|word| std::ptr::from_mut(word).cast())
            .collect();
        let block = (launch.threads, 1, 1);
        // SAFETY: the caller's promise; the driver copies the parameters before it returns.
        let launched = unsafe {
            result::launch_kernel(
                function.0,
                (x, y, 1),
                block,
                launch.shared_bytes,
                stream,
                &mut pointers,
            )
        };
        check("a launch", launched)
    }
}

/// An i32 in the first four of eight bytes, whatever the byte order.
fn narrow(value: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_ne_bytes());
    bytes
}

fn load(name: &str, ptx: &str) -> Result<sys::CUmodule, Error> {
    let text =
        CString::new(ptx).map_err(|_| failed(format!("the PTX of `{name}` holds a zero")))?;
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    // The driver takes the size as a number in place of a pointer.
    let mut values = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the text ends in zero; options and values are two each and the log is LOG_BYTES long.
    let loaded = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            text.as_ptr().cast(),
            2,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match loaded.result() {
        Ok(()) => Ok(module),
        Err(why) => {
            let said = CStr::from_bytes_until_nul(&log).unwrap_or_default();
            let said = said.to_string_lossy();
            let what = format!("the driver refuses kernel `{name}` [{}]", said.trim());
            check(&what, Err(why))
        }
    }
}

fn configure(module: sys::CUmodule, name: &str, shared_bytes: u32) -> Result<Function, Error> {
    let symbol = CString::new(name).map_err(|_| failed(format!("`{name}` holds a zero")))?;
    // SAFETY: the module is loaded.
    let function = unsafe { result::module::get_function(module, symbol) };
    let function = check(&format!("kernel `{name}`"), function)?;
    if shared_bytes > SHARED_BY_DEFAULT {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is the module's.
        let set = unsafe {
            result::function::set_function_attribute(function, attribute, shared_bytes as i32)
        };
        check(
            &format!("{shared_bytes} bytes of shared memory for `{name}`"),
            set,
        )?;
    }
    Ok(Function(function))
}

impl Drop for Context {
    fn drop(&mut self) {
        let Ok(entered) = self.enter() else { return };
        let loaded = match self.loaded.get_mut() {
            Ok(loaded) => std::mem::take(loaded),
            Err(poisoned) => std::mem::take(poisoned.into_inner()),
        };
        // SAFETY: every run has ended once the context is waited for, on callers' streams too, and these handles are ours
        // alone. What the driver says here has nobody left to hear it.
        unsafe {
            let _ = result::ctx::synchronize();
            if !self.stream.is_null() {
                let _ = result::stream::synchronize(self.stream);
                let _ = result::stream::destroy(self.stream);
            }
            for kernel in loaded.into_values().flatten() {
                let _ = result::module::unload(kernel.module);
            }
            drop(entered);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
