//! Calls: a device function's body is decoded anew at each call, so that divergence and reconvergence are those
//! of one program.

use super::builder::Builder;
use super::names::{Binding, Scope, find};
use crate::error::{Error, Result};
use crate::op::{NOWHERE, Op, Slot};
use crate::text::tree::{Formal, Operand};

const DEEPEST_CALL: usize = 32;

impl Builder<'_> {
    /// Inlines a device function: its parameters are other names for the caller's.
    pub fn call(
        &mut self,
        site: (u32, Option<(Slot, bool)>, u16),
        returns: &[Operand],
        name: &str,
        actuals: &[Operand],
    ) -> Result<()> {
        let (line, guard, kind) = site;
        let module = self.module;
        let function = module
            .functions
            .iter()
            .find(|f| f.name == name && !f.kernel);
        let unknown = || {
            let message = format!("`{name}` is no function defined in this module");
            Error::at(line, message)
        };
        let function = function.ok_or_else(unknown)?;
        let body = function.body.as_ref().ok_or_else(unknown)?;
        if self.calls.iter().any(|(caller, _)| caller == name) || self.calls.len() > DEEPEST_CALL {
            let message = format!("`{name}` calls itself: recursion is not known to the emulator");
            return Err(Error::at(line, message));
        }
        if returns.len() != function.returns.len() || actuals.len() != function.parameters.len() {
            let message = format!(
                "`{name}` returns {} and takes {}, but the call has {} and {}",
                function.returns.len(),
                function.parameters.len(),
                returns.len(),
                actuals.len()
            );
            return Err(Error::at(line, message));
        }
        let (after, end) = (self.label(), self.label());
        if let Some((slot, negated)) = guard {
            let branch = Op::Branch {
                target: after as u32,
                reconverge: NOWHERE,
            };
            self.push(branch, Some((slot, !negated)), line, None);
        }
        self.push(Op::Nothing, None, line, Some(kind));
        let mut scope = Scope::default();
        for (formal, actual) in function.parameters.iter().zip(actuals) {
            let binding = self.passed(formal, actual, line)?;
            if let (Binding::Register { slot, ty }, Some(_)) = (binding, formal.register) {
                let d = self.fresh();
                self.push(Op::Move { d, a: slot }, None, line, None);
                scope.bind(&formal.name, Binding::Register { slot: d, ty });
            } else {
                scope.bind(&formal.name, binding);
            }
        }
        for (formal, actual) in function.returns.iter().zip(returns) {
            let binding = self.passed(formal, actual, line)?;
            scope.bind(&formal.name, binding);
        }
        let outer = std::mem::replace(&mut self.scopes, vec![scope]);
        self.calls.push((name.to_string(), end));
        self.block(body)?;
        self.calls.pop();
        self.scopes = outer;
        let here = self.steps.len() as u32;
        self.labels[end] = Some(here);
        self.labels[after] = Some(here);
        Ok(())
    }

    /// What a formal parameter means inside of a call.
    fn passed(&mut self, formal: &Formal, actual: &Operand, line: u32) -> Result<Binding> {
        let mismatch = || {
            let message = format!(
                "parameter `{}` is passed by another kind of operand",
                formal.name
            );
            Error::at(line, message)
        };
        match (actual, formal.register) {
            (Operand::Name(name), register) => match find(&self.scopes, name) {
                Some(binding @ Binding::Variable { .. }) if register.is_none() => Ok(binding),
                Some(binding @ Binding::Register { .. }) if register.is_some() => Ok(binding),
                _ => Err(mismatch()),
            },
            (Operand::Integer(value), Some(ty)) => {
                let slot = self.constant(*value);
                Ok(Binding::Register { slot, ty })
            }
            (Operand::Single(bits), Some(ty)) => {
                let slot = self.constant(u64::from(*bits));
                Ok(Binding::Register { slot, ty })
            }
            (Operand::Double(bits), Some(ty)) => {
                let slot = self.constant(*bits);
                Ok(Binding::Register { slot, ty })
            }
            _ => Err(mismatch()),
        }
    }
}
