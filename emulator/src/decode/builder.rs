//! The state of decoding one kernel: slots, scopes, memory layout, labels, and the inlining of calls.

use std::collections::HashMap;
use std::sync::Arc;

use super::names::{Binding, Label, Scope, Scopes, find};
use super::program::{DYNAMIC_ALIGN, ParameterShape, Program, SHARED_BASE};
use crate::error::{Error, Result};
use crate::flow;
use crate::op::{Op, Slot, Special, Step};
use crate::text::tree::{Function, Module, Variable};
use crate::types::{Space, Type};

/// Inlining more than this is taken for a mistake.
const MOST_SLOTS: u32 = 1 << 18;

/// Local memory that one thread can have.
const MOST_LOCAL: u64 = 512 * 1024;

pub(crate) struct Builder<'a> {
    pub module: &'a Module,
    pub steps: Vec<Step>,
    slots: u32,
    constants: HashMap<u64, Slot>,
    specials: Vec<(Special, Slot)>,
    globals: Vec<(Arc<Variable>, Slot)>,
    known_globals: HashMap<String, Slot>,
    dynamic: Option<Slot>,
    dynamic_align: u64,
    shared_end: u64,
    known_shared: HashMap<String, u64>,
    local_end: u64,
    kinds: Vec<String>,
    kind_of: HashMap<String, u16>,
    pub scopes: Scopes,
    /// Positions of labels, once met.
    pub labels: Vec<Option<u32>>,
    /// The functions being inlined, and where their `ret` goes.
    pub calls: Vec<(String, Label)>,
    parameters: Vec<ParameterShape>,
}

fn align_up(value: u64, align: u64) -> u64 {
    value.div_ceil(align.max(1)) * align.max(1)
}

impl<'a> Builder<'a> {
    pub fn new(module: &'a Module) -> Builder<'a> {
        Builder {
            module,
            steps: vec![],
            slots: 0,
            constants: HashMap::new(),
            specials: vec![],
            globals: vec![],
            known_globals: HashMap::new(),
            dynamic: None,
            dynamic_align: DYNAMIC_ALIGN,
            shared_end: SHARED_BASE,
            known_shared: HashMap::new(),
            local_end: 0,
            kinds: vec![],
            kind_of: HashMap::new(),
            scopes: vec![],
            labels: vec![],
            calls: vec![],
            parameters: vec![],
        }
    }

    pub fn kernel(mut self, function: &Function) -> Result<Program> {
        let body = function.body.as_ref().ok_or_else(|| {
            let message = format!("kernel `{}` is declared, not defined", function.name);
            Error::at(function.line, message)
        })?;
        let mut scope = Scope::default();
        let mut end = 0;
        for formal in &function.parameters {
            end = align_up(end, u64::from(formal.align));
            let shape = ParameterShape {
                name: formal.name.clone(),
                bytes: formal.bytes as u32,
                offset: end as u32,
            };
            self.parameters.push(shape);
            let binding = Binding::Variable {
                space: Space::Param,
                address: end,
            };
            scope.bind(&formal.name, binding);
            end += formal.bytes;
        }
        if end > 32764 {
            let message = format!("{end} bytes of parameters: a kernel takes at most 32764");
            return Err(Error::at(function.line, message));
        }
        self.scopes.push(scope);
        self.block(body)?;
        self.push(Op::Exit, None, function.line, None);
        self.resolve()?;
        if self.local_end > MOST_LOCAL {
            let message = format!(
                "{} bytes of local memory: a thread has at most {MOST_LOCAL}",
                self.local_end
            );
            return Err(Error::at(function.line, message));
        }
        let dynamic_base = align_up(self.shared_end, self.dynamic_align);
        let mut constants: Vec<_> = self.constants.iter().map(|(&v, &s)| (s, v)).collect();
        if let Some(slot) = self.dynamic {
            constants.push((slot, dynamic_base));
            self.shared_end = dynamic_base;
        }
        constants.sort_unstable();
        Ok(Program {
            name: function.name.clone(),
            steps: self.steps,
            slots: self.slots,
            constants,
            specials: self.specials,
            globals: self.globals,
            kinds: self.kinds,
            parameters: self.parameters,
            parameter_bytes: end as u32,
            shared_end: self.shared_end,
            local_bytes: self.local_end,
            max_block: function.max_block,
            required_block: function.required_block,
        })
    }

    /// Labels to positions, then the reconvergence of every branch.
    fn resolve(&mut self) -> Result<()> {
        let labels = std::mem::take(&mut self.labels);
        let place = |line: u32, label: u32| {
            let known = labels.get(label as usize).copied().flatten();
            known.ok_or_else(|| Error::at(line, "a branch's label is never placed"))
        };
        for step in &mut self.steps {
            match &mut step.op {
                Op::Branch { target, .. } => *target = place(step.line, *target)?,
                Op::BranchIndex { targets, .. } => {
                    for target in targets {
                        *target = place(step.line, *target)?;
                    }
                }
                _ => {}
            }
        }
        flow::reconverge(&mut self.steps);
        Ok(())
    }

    pub fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        self.scopes.last_mut().expect("a scope was just pushed")
    }

    pub fn variable(&mut self, variable: &Variable) -> Result<()> {
        let align = u64::from(variable.align);
        let binding = match variable.space {
            Space::Shared => Binding::Variable {
                space: Space::Shared,
                address: self.static_shared(variable),
            },
            Space::Local | Space::Param => {
                let address = align_up(self.local_end, align);
                self.local_end = address + variable.bytes;
                Binding::Variable {
                    space: Space::Local,
                    address,
                }
            }
            Space::Global | Space::Const | Space::Generic => {
                let slot = self.global(variable);
                Binding::Register {
                    slot,
                    ty: Type::B64,
                }
            }
        };
        self.scope().bind(&variable.name, binding);
        Ok(())
    }

    fn static_shared(&mut self, variable: &Variable) -> u64 {
        let address = align_up(self.shared_end, u64::from(variable.align));
        self.shared_end = address + variable.bytes;
        self.dynamic_align = self.dynamic_align.max(u64::from(variable.align));
        address
    }

    fn global(&mut self, variable: &Variable) -> Slot {
        if let Some(&slot) = self.known_globals.get(&variable.name) {
            return slot;
        }
        let slot = self.fresh();
        self.globals.push((Arc::new(variable.clone()), slot));
        self.known_globals.insert(variable.name.clone(), slot);
        slot
    }

    /// The slot that holds the address of a variable, or the register, of a name; and the space that the
    /// variable lives in.
    pub fn named(&mut self, name: &str) -> Option<(Slot, Option<Type>, Option<Space>)> {
        match find(&self.scopes, name) {
            Some(Binding::Register { slot, ty }) => return Some((slot, Some(ty), None)),
            Some(Binding::Variable { space, address }) => {
                return Some((self.constant(address), None, Some(space)));
            }
            None => {}
        }
        if let Some(special) = Special::named(name) {
            return Some((self.special(special), None, None));
        }
        if name == "WARP_SZ" {
            return Some((self.constant(32), None, None));
        }
        let module = self.module;
        let variable = module.variables.iter().find(|v| v.name == name)?;
        let slot = match variable.space {
            Space::Shared if variable.unsized_array => {
                let align = u64::from(variable.align);
                self.dynamic_align = self.dynamic_align.max(align);
                match self.dynamic {
                    Some(slot) => slot,
                    None => {
                        let slot = self.fresh();
                        self.dynamic = Some(slot);
                        slot
                    }
                }
            }
            Space::Shared => {
                let address = match self.known_shared.get(name) {
                    Some(&address) => address,
                    None => {
                        let address = self.static_shared(variable);
                        self.known_shared.insert(name.to_string(), address);
                        address
                    }
                };
                self.constant(address)
            }
            _ => self.global(variable),
        };
        Some((slot, None, Some(variable.space)))
    }

    pub fn fresh(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    pub fn fresh_many(&mut self, count: u32, line: u32) -> Result<Slot> {
        let first = self.slots;
        self.slots = self.slots.saturating_add(count);
        if self.slots > MOST_SLOTS {
            return Err(Error::at(line, "the kernel declares too many registers"));
        }
        Ok(first)
    }

    pub fn constant(&mut self, value: u64) -> Slot {
        if let Some(&slot) = self.constants.get(&value) {
            return slot;
        }
        let slot = self.fresh();
        self.constants.insert(value, slot);
        slot
    }

    fn special(&mut self, special: Special) -> Slot {
        let known = self.specials.iter().find(|(known, _)| *known == special);
        if let Some(&(_, slot)) = known {
            return slot;
        }
        let slot = self.fresh();
        self.specials.push((special, slot));
        slot
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        self.labels.len() - 1
    }

    /// The number of a label that a branch names.
    pub fn branch_label(&self, name: &str) -> Option<Label> {
        let mut scopes = self.scopes.iter().rev();
        scopes.find_map(|scope| scope.labels.get(name).copied())
    }

    /// The list that `.branchtargets` gave a name.
    pub fn branch_targets(&self, name: &str) -> Option<Vec<String>> {
        let mut scopes = self.scopes.iter().rev();
        scopes.find_map(|scope| scope.targets.get(name).cloned())
    }

    /// Where `ret` goes: the end of an inlined function, or out of the kernel.
    pub fn return_label(&self) -> Option<Label> {
        self.calls.last().map(|(_, label)| *label)
    }

    pub fn push(&mut self, op: Op, guard: Option<(Slot, bool)>, line: u32, kind: Option<u16>) {
        self.steps.push(Step {
            op,
            guard,
            line,
            kind,
        });
    }

    pub fn kind(&mut self, mnemonic: &str) -> u16 {
        if let Some(&kind) = self.kind_of.get(mnemonic) {
            return kind;
        }
        let kind = self.kinds.len().min(usize::from(u16::MAX)) as u16;
        self.kinds.push(mnemonic.to_string());
        self.kind_of.insert(mnemonic.to_string(), kind);
        kind
    }
}
