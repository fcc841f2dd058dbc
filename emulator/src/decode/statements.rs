//! The walk over a kernel's statements: a block opens a scope, an instruction goes to its decoder.
//!
//! Decoders of calls come back here with the body of what is called, so this stands above both them and the builder.

use super::builder::Builder;
use super::names::{Binding, Scope, find};
use super::site::Site;
use super::table;
use crate::error::{Error, Result};
use crate::text::tree::{Instruction, Statement};
use crate::types::Type;

/// Inlining more than this is taken for a mistake.
const MOST_STEPS: usize = 1 << 21;

impl Builder<'_> {
    pub fn block(&mut self, statements: &[Statement]) -> Result<()> {
        let mut scope = Scope::default();
        for statement in statements {
            match statement {
                Statement::Label { line, name } => {
                    let label = self.label();
                    if scope.labels.insert(name.clone(), label).is_some() {
                        return Err(Error::at(*line, format!("label `{name}` is placed twice")));
                    }
                }
                Statement::Targets { name, targets } => {
                    scope.targets.insert(name.clone(), targets.clone());
                }
                _ => {}
            }
        }
        self.scopes.push(scope);
        for statement in statements {
            self.statement(statement)?;
        }
        self.scopes.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<()> {
        match statement {
            Statement::Block(statements) => self.block(statements),
            Statement::Registers {
                line,
                ty,
                name,
                count,
            } => {
                let count = count.unwrap_or(0);
                let first = self.fresh_many(count.max(1), *line)?;
                let (ty, scope) = (*ty, self.scope());
                match statement {
                    Statement::Registers { count: None, .. } => {
                        scope.bind(name, Binding::Register { slot: first, ty });
                    }
                    _ => scope.bind_range(name, first, count, ty),
                }
                Ok(())
            }
            Statement::Variable(variable) => self.variable(variable),
            Statement::Label { name, .. } => {
                let label = self.scope().labels.get(name).copied();
                let here = self.steps.len() as u32;
                self.labels[label.expect("labels were numbered on entry")] = Some(here);
                Ok(())
            }
            Statement::Targets { .. } => Ok(()),
            Statement::Instruction(instruction) => self.instruction(instruction),
        }
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<()> {
        let line = instruction.line;
        if self.steps.len() > MOST_STEPS {
            return Err(Error::at(
                line,
                "the kernel is too long once its calls are inlined",
            ));
        }
        let guard = match &instruction.guard {
            None => None,
            Some((name, negated)) => match find(&self.scopes, name) {
                Some(Binding::Register {
                    slot,
                    ty: Type::Pred,
                }) => Some((slot, *negated)),
                _ => return Err(Error::at(line, format!("`{name}` is no predicate"))),
            },
        };
        let kind = self.kind(&instruction.mnemonic);
        let mut site = Site::new(self, instruction, guard, kind);
        table::decode(&mut site)
    }
}
