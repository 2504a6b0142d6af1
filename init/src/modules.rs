//! Kernel modules: which to load, in which order, and loading them.

use crate::cmdline;
use crate::fault::{Attempt, Fault};
use crate::glob;
use coracle_format::device::{Load, Module};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Something that can load one module: the kernel, or a test.
pub trait Insert {
    /// Loads one module whose dependencies are loaded. A module that is there already is fine.
    fn insert(&mut self, module: &Module) -> Result<(), Fault>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Insert for Kernel {
    fn insert(&mut self, module: &Module) -> Result<(), Fault> {
        // The kernel would check the file's signature before it finds that it has the module already.
        if Path::new("/sys/module").join(&module.name).exists() {
            return Ok(());
        }
        let file = File::open(&module.path).attempt("open", &module.path)?;
        let params = [module.params.clone(), cmdline::module_params(&read_cmdline(), &module.name)].join(" ");
        match insert(&file, module, params.trim())? {
            Err(Errno::PERM) if let Some(params) = cmdline::params_by_name(&params) => {
                insert(&file, module, &params)?
            }
            other => other,
        }
        .attempt("load module", &module.name)
    }
}

/// One attempt. A module that is there already is fine.
fn insert(file: &File, module: &Module, params: &str) -> Result<Result<(), Errno>, Fault> {
    let params = CString::new(params).attempt("use the parameters of", &module.name)?;
    Ok(match rustix::system::finit_module(file, &params, 0) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    })
}

/// The kernel hands its command line's `module.parameter=value` only to what is built in.
fn read_cmdline() -> String {
    std::fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Loaded,
    Failed,
}

/// Which modules of a list are loaded.
#[derive(Debug, Default)]
pub struct Loader {
    modules: Vec<Module>,
    progress: Vec<Progress>,
}

/// What a call of the loader did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many modules are loaded that were not before.
    pub loaded: usize,
    /// What failed; each module is tried once and reported once.
    pub faults: Vec<Fault>,
}

impl Loader {
    /// A loader that has loaded nothing yet.
    pub fn new(modules: Vec<Module>) -> Self {
        let progress = vec![Progress::Waiting; modules.len()];
        Self { modules, progress }
    }

    /// Loads every module that is loaded before all others, with what it needs.
    pub fn load_first(&mut self, kernel: &mut impl Insert) -> Outcome {
        self.load_where(kernel, |load| matches!(load, Load::First))
    }

    /// Loads every module that is loaded whatever the hardware, with what it needs.
    pub fn load_always(&mut self, kernel: &mut impl Insert) -> Outcome {
        self.load_where(kernel, |load| matches!(load, Load::Always))
    }

    /// Loads every module that drives a device with this alias, with what it needs.
    pub fn load_for(&mut self, modalias: &str, kernel: &mut impl Insert) -> Outcome {
        self.load_where(kernel, |load| drives(load, modalias))
    }

    /// Loads the drivers of the devices that are below `sys` (`/sys`) now.
    pub fn load_for_present(&mut self, kernel: &mut impl Insert, sys: &Path) -> Outcome {
        let mut outcome = Outcome::default();
        for modalias in modaliases(sys) {
            let one = self.load_for(&modalias, kernel);
            outcome.loaded += one.loaded;
            outcome.faults.extend(one.faults);
        }
        outcome
    }

    /// Whether some module that is not loaded yet drives a device with this alias.
    pub fn wants(&self, modalias: &str) -> bool {
        let mut both = self.modules.iter().zip(&self.progress);
        both.any(|(module, progress)| *progress == Progress::Waiting && drives(&module.load, modalias))
    }

    fn load_where(&mut self, kernel: &mut impl Insert, wanted: impl Fn(&Load) -> bool) -> Outcome {
        let mut outcome = Outcome::default();
        for index in 0..self.modules.len() {
            if self.progress[index] == Progress::Waiting && wanted(&self.modules[index].load) {
                self.load_with_needs(index, kernel, &mut outcome);
            }
        }
        outcome
    }

    /// `needs` is closed and ascending: loading it in order never meets an unloaded dependency.
    fn load_with_needs(&mut self, index: usize, kernel: &mut impl Insert, outcome: &mut Outcome) {
        let needs = self.modules[index].needs.iter().map(|need| usize::from(*need));
        for step in needs.chain([index]) {
            let Some(module) = self.modules.get(step) else {
                let number = step.to_string();
                outcome.faults.push(Fault::new("load module number", number, "the list is shorter"));
                self.progress[index] = Progress::Failed;
                return;
            };
            if self.progress[step] == Progress::Waiting {
                self.progress[step] = match kernel.insert(module) {
                    Ok(()) => {
                        outcome.loaded += 1;
                        Progress::Loaded
                    }
                    Err(fault) => {
                        outcome.faults.push(fault);
                        Progress::Failed
                    }
                };
            }
            if self.progress[step] == Progress::Failed {
                self.progress[index] = Progress::Failed;
                return;
            }
        }
    }
}

fn drives(load: &Load, modalias: &str) -> bool {
    match load {
        Load::Alias(patterns) => patterns.iter().any(|pattern| glob::matches(pattern, modalias)),
        Load::First | Load::Always | Load::Dependency => false,
    }
}

/// Loads the drivers of all devices below `sys` (`/sys`), until no new device appears that needs one.
pub fn load_for_devices(loader: &mut Loader, kernel: &mut impl Insert, sys: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    loop {
        let outcome = loader.load_for_present(kernel, sys);
        faults.extend(outcome.faults);
        if outcome.loaded == 0 {
            return faults;
        }
    }
}

/// The aliases of all devices there are. A device that vanishes meanwhile is passed over.
fn modaliases(sys: &Path) -> Vec<String> {
    let buses = children(&sys.join("bus")).into_iter().map(|bus| bus.join("devices"));
    // Devices of these classes are on no bus.
    let classes = ["input", "dmi"].map(|class| sys.join("class").join(class));
    // The processor itself: faster hashing for dm-verity.
    let processor = sys.join("devices/system/cpu");
    let mut found: Vec<String> = buses
        .chain(classes)
        .flat_map(|list| children(&list))
        .chain([processor])
        .filter_map(|device| std::fs::read_to_string(device.join("modalias")).ok())
        .map(|alias| alias.trim_end().to_owned())
        .filter(|alias| !alias.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Default)]
    struct Fake {
        inserted: Vec<String>,
        broken: Vec<&'static str>,
    }

    impl Insert for Fake {
        fn insert(&mut self, module: &Module) -> Result<(), Fault> {
            if self.broken.contains(&module.name.as_str()) {
                return Err(Fault::new("load module", &module.name, "broken"));
            }
            self.inserted.push(module.name.clone());
            Ok(())
        }
    }

    fn module(name: &str, load: Load, needs: &[u16]) -> Module {
        Module {
            name: name.to_owned(),
            path: String::new(),
            params: String::new(),
            load,
            needs: needs.to_vec(),
        }
    }

    fn list() -> Vec<Module> {
        vec![
            module("watchdog", Load::Dependency, &[]),
            module("i6300esb", Load::First, &[0]),
            module("virtio_blk", Load::Alias(vec!["virtio:d00000002v*".to_owned()]), &[]),
            module("dm_mod", Load::Dependency, &[]),
            module("dm_verity", Load::Always, &[3]),
            module("evdev", Load::Alias(vec!["input:b*v*p*e*-e*".to_owned()]), &[]),
        ]
    }

    #[test]
    fn each_class_is_loaded_with_its_dependencies_before_it() {
        let (mut loader, mut kernel) = (Loader::new(list()), Fake::default());
        assert_eq!(loader.load_first(&mut kernel).loaded, 2);
        assert_eq!(loader.load_always(&mut kernel).loaded, 2);
        assert_eq!(kernel.inserted, ["watchdog", "i6300esb", "dm_mod", "dm_verity"]);
    }

    #[test]
    fn a_driver_is_loaded_once_for_its_alias_and_then_no_longer_wanted() {
        let (mut loader, mut kernel) = (Loader::new(list()), Fake::default());
        let alias = "virtio:d00000002v00001AF4";
        assert!(loader.wants(alias));
        assert_eq!(loader.load_for(alias, &mut kernel).loaded, 1);
        assert_eq!(loader.load_for(alias, &mut kernel).loaded, 0);
        assert!(!loader.wants(alias));
        assert_eq!(kernel.inserted, ["virtio_blk"]);
    }

    #[test]
    fn what_needs_a_broken_module_is_not_tried_and_the_fault_is_told_once() {
        let mut kernel = Fake { broken: vec!["dm_mod"], ..Fake::default() };
        let mut loader = Loader::new(list());
        assert_eq!(loader.load_always(&mut kernel).faults.len(), 1);
        assert_eq!(loader.load_always(&mut kernel).faults.len(), 0);
        assert!(kernel.inserted.is_empty());
    }

    #[test]
    fn a_dependency_outside_the_list_is_a_fault() {
        let modules = vec![module("odd", Load::Always, &[9])];
        let outcome = Loader::new(modules).load_always(&mut Fake::default());
        assert_eq!(outcome.faults[0].line(), "cannot load module number 9: the list is shorter");
    }

    #[test]
    fn devices_on_any_bus_and_input_devices_get_their_drivers() {
        let directory = tempfile::tempdir().unwrap();
        for (device, alias) in [
            ("bus/virtio/devices/virtio0", "virtio:d00000002v00001AF4"),
            ("class/input/input0", "input:b0019v0000p0001e0000-e0,1,k74"),
        ] {
            let device = directory.path().join(device);
            std::fs::create_dir_all(&device).unwrap();
            writeln!(File::create(device.join("modalias")).unwrap(), "{alias}").unwrap();
        }
        let (mut loader, mut kernel) = (Loader::new(list()), Fake::default());
        let faults = load_for_devices(&mut loader, &mut kernel, directory.path());
        assert!(faults.is_empty());
        assert_eq!(kernel.inserted, ["evdev", "virtio_blk"]);
    }
}
