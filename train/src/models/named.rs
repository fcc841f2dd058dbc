//! Modules that are named at run time: what a block has for each port of a text.
//!
//! A weight's name is its path of fields, and fields are named in the source. The modules in here stand
//! in place of their owner's field, each under a name of its own, in the order given.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Device;

/// What [`Named`] calls itself on the way to a module in it.
pub(super) const NAMED: &str = "Named";

/// Modules with their names.
#[derive(Clone, Debug)]
pub struct Named<M>(Vec<(String, M)>);

impl<M> Named<M> {
    /// The modules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &M> + Clone {
        self.0.iter().map(|(_, module)| module)
    }

    fn each(self, mut change: impl FnMut(&str, M) -> M) -> Self {
        let entries = self.0.into_iter();
        let entries = entries.map(|(name, module)| {
            let changed = change(&name, module);
            (name, changed)
        });
        Named(entries.collect())
    }
}

impl<M> FromIterator<(String, M)> for Named<M> {
    fn from_iter<I: IntoIterator<Item = (String, M)>>(entries: I) -> Self {
        Named(entries.into_iter().collect())
    }
}

impl<M: Module> Module for Named<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.iter()
            .fold(devices, |devices, module| module.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|_, module| module.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|_, module| module.to_device(device))
    }

    fn train(self) -> Self {
        self.each(|_, module| module.train())
    }

    fn valid(&self) -> Self {
        let entries = self.0.iter();
        Named(
            entries
                .map(|(name, module)| (name.clone(), module.valid()))
                .collect(),
        )
    }

    fn materialize(self) -> Self {
        self.each(|_, module| module.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, module) in &self.0 {
            visitor.enter_module(name, NAMED);
            module.visit(visitor);
            visitor.exit_module(name, NAMED);
        }
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        self.each(|name, module| {
            mapper.enter_module(name, NAMED);
            let mapped = module.map(mapper);
            mapper.exit_module(name, NAMED);
            mapped
        })
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for Named<M> {
    fn content(&self, content: Content) -> Option<Content> {
        let entries = self.0.iter();
        entries
            .fold(content, |content, (name, module)| content.add(name, module))
            .optional()
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for Named<M> {}
