//! The weights of a module by name: read, replaced, and updated in one walk. The module is any of Burn's, a
//! [`LanguageModel`](super::LanguageModel) or one's own, whose weights are in f32 on a device of models; others panic.
//!
//! A name is the path of fields to the tensor; the variant of an enum is not a part of it, so
//! that a block's weights are called as in published checkpoints whichever block it is. A part that ends
//! in `_` is the beginning of the next: `k_` and `conv` are `k_conv`.

use super::named::NAMED;
use crate::Error;
use crate::op::Value;
use baton_runtime::Tensor as HostTensor;
use burn::Tensor;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Gradients;
use std::collections::BTreeMap;

/// A weight under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its path, as `backbone.layers.0.mixer.in_proj.weight`.
    pub name: String,
    /// Its elements.
    pub value: HostTensor,
}

/// The path walked so far.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if container == NAMED
            && let Some(owner) = self.0.last_mut()
        {
            owner.clear();
        }
        let part = if container.starts_with("Enum:") {
            ""
        } else {
            name
        };
        self.0.push(part.to_string());
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn name(&self) -> String {
        let parts = self.0.iter().filter(|part| !part.is_empty());
        parts.fold(String::new(), |path, part| match path.as_str() {
            "" => part.clone(),
            begun if begun.ends_with('_') => path + part,
            _ => path + "." + part,
        })
    }
}

/// What a walk makes of each weight; `None` leaves it out.
type Read<'a> = &'a mut dyn FnMut(&str, Value, Option<Value>) -> Option<HostTensor>;

struct Collect<'a> {
    path: Path,
    gradients: Option<&'a mut Gradients>,
    read: Read<'a>,
    found: Vec<Parameter>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let gradient = self.gradients.as_mut().and_then(|g| tensor.grad_remove(g));
        let name = self.path.name();
        if let Some(value) = (self.read)(&name, known(tensor), gradient.map(known)) {
            self.found.push(Parameter { name, value });
        }
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
}

fn known<const D: usize>(tensor: Tensor<D>) -> Value {
    Value::new(tensor).expect("weights are made in f32 on a device of models")
}

fn collect(
    model: &impl Module,
    gradients: Option<&mut Gradients>,
    read: Read<'_>,
) -> Vec<Parameter> {
    let mut collect = Collect {
        path: Path::default(),
        gradients,
        read,
        found: Vec::new(),
    };
    model.visit(&mut collect);
    collect.found
}

/// Every weight, in the order of the model.
pub fn parameters(model: &impl Module) -> Vec<Parameter> {
    of(model)
}

/// Every weight of a model or of a part of one, named from there on.
pub(super) fn of(module: &impl Module) -> Vec<Parameter> {
    collect(module, None, &mut |_, weight, _| Some(weight.to_host()))
}

/// Whether `holds` is true of every weight, one in memory at a time; it sees all of them.
pub(crate) fn each(model: &impl Module, holds: &mut dyn FnMut(&str, HostTensor) -> bool) -> bool {
    let mut all = true;
    collect(model, None, &mut |name, weight, _| {
        all &= holds(name, weight.to_host());
        None
    });
    all
}

/// The name of every weight, in the order of the model.
pub(super) fn names(model: &impl Module) -> Vec<String> {
    let none = || HostTensor {
        shape: vec![0],
        data: Vec::new(),
    };
    let all = collect(model, None, &mut |_, _, _| Some(none())).into_iter();
    all.map(|weight| weight.name).collect()
}

/// The gradient of every weight that has one, in the order of the model; taken out of `from`.
pub fn gradients(model: &impl Module, from: &mut Gradients) -> Vec<Parameter> {
    collect(model, Some(from), &mut |_, _, gradient| {
        gradient.map(|g| g.to_host())
    })
}

/// What an update does with a weight: its name and value to the new value, of the same shape.
type Change<'a> = &'a mut dyn FnMut(&str, HostTensor) -> HostTensor;

struct Walk<'a> {
    path: Path,
    change: Change<'a>,
}

impl ModuleMapper for Walk<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        param.map(|tensor| {
            let (recorded, tracked) = (tensor.is_autodiff(), tensor.is_require_grad());
            let device = tensor.device();
            let value = (self.change)(&name, known(tensor).to_host());
            let value: Tensor<D> = Value::from_host(value)
                .on(&device)
                .tensor()
                .expect("an update keeps the shape");
            let value = if recorded { value.autodiff() } else { value };
            value.set_require_grad(tracked)
        })
    }
}

/// The model with every weight replaced by what `change` makes of it.
pub fn update<M: Module>(model: M, change: Change<'_>) -> M {
    let path = Path::default();
    model.map(&mut Walk { path, change })
}

/// The model with the weights of `given`; every weight must be there, in its shape, and no other.
pub fn load<M: Module>(model: M, given: BTreeMap<String, HostTensor>) -> Result<M, Error> {
    load_called(model, given, &str::to_string)
}

/// The same; an error calls a weight what `called` makes of its name.
pub fn load_called<M: Module>(
    model: M,
    mut given: BTreeMap<String, HostTensor>,
    called: &dyn Fn(&str) -> String,
) -> Result<M, Error> {
    let mut wrong = Vec::new();
    let model = update(model, &mut |name, value| match given.remove(name) {
        Some(new) if new.shape == value.shape => new,
        Some(new) => {
            let (found, expected) = (new.shape, &value.shape);
            wrong.push(format!(
                "tensor `{}` has shape {found:?}, expected {expected:?}",
                called(name)
            ));
            value
        }
        None => {
            wrong.push(format!("tensor `{}` is missing", called(name)));
            value
        }
    });
    let extra = given.keys();
    wrong.extend(extra.map(|name| format!("tensor `{name}` is not part of the model")));
    match wrong.is_empty() {
        true => Ok(model),
        false => Err(Error::Tensor(wrong.join("; "))),
    }
}
