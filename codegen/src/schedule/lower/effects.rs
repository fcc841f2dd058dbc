//! Effects: what a program leaves in ports and carries.

use super::Lower;
use baton_ir::chunked::{Axis, Op, Target, ValueId};
use baton_ir::recurrence::{BinaryFn, Port};
use baton_ir::tile::{self, Along, CarryRole, Effect, Pace, Reduce, Region, Role, Scalar, TileId};

impl Lower<'_> {
    pub(super) fn result(&mut self, target: Target, value: ValueId) {
        let effect = match target {
            Target::Output(o) => {
                let of = self.program.outputs[o.index()].clone();
                let tile = self.whole(value, &of, true);
                Effect::Store(
                    self.port(Role::Output(o.0), of.name.clone(), &of, Pace::Step),
                    tile,
                )
            }
            Target::DInput(i) => {
                let of = self.program.inputs[i.index()].clone();
                let tile = self.whole(value, &of, true);
                let name = format!("d_{}", of.name);
                Effect::Store(self.port(Role::DInput(i.0), name, &of, Pace::Step), tile)
            }
            Target::DParam(i) => {
                let of = self.program.params[i.index()].clone();
                let tile = self.whole(value, &of, false);
                let name = format!("d_{}", of.name);
                Effect::Accumulate(self.port(Role::DParam(i.0), name, &of, Pace::Task), tile)
            }
            Target::State(i) | Target::DState(i) => {
                let of = self.program.states[i.index()].clone();
                let tile = self.whole(value, &of, false);
                Effect::Carry(self.state_carry(i.index()), tile)
            }
            Target::LogScalar(i) => self.log(CarryRole::LogScalar(i.0), value),
            Target::LogRow(i) => self.log(CarryRole::LogRow(i.0), value),
            Target::LogCol(i) => self.log(CarryRole::LogCol(i.0), value),
        };
        self.out.effect(effect);
    }

    /// A log decay added to what earlier chunks had.
    fn log(&mut self, role: CarryRole, value: ValueId) -> Effect {
        let axes = self.axes(value);
        let dims = self.shape(&axes);
        let (suffix, state) = match role {
            CarryRole::LogScalar(i) => ("scalar", i),
            CarryRole::LogRow(i) => ("row", i),
            CarryRole::LogCol(i) => ("col", i),
            CarryRole::State(_) | CarryRole::DState(_) => unreachable!("no log decay"),
        };
        let name = format!("log_{suffix}_{}", self.program.states[state as usize].name);
        let carry = self.carry(role, name, dims);
        let old = self.node(tile::Op::Carry(carry), Region::Heads, &axes);
        let mut map = self.map(axes.clone(), Region::Heads);
        let along = if axes.is_empty() {
            Along::None
        } else {
            Along::First
        };
        map.operands = vec![(old, along), (self.tile(value), along)];
        map.body = vec![
            Scalar::Operand(0),
            Scalar::Operand(1),
            Scalar::Binary(BinaryFn::Add, 0, 1),
        ];
        Effect::Carry(carry, self.finish_map(map, Reduce::None))
    }

    /// The tile of a result with all axes of its port, in the port's region.
    fn whole(&mut self, value: ValueId, of: &Port, time: bool) -> TileId {
        let mut axes = of.axes(time);
        axes.retain(|axis| *axis != Axis::Head);
        let region = self.regions[value.index()];
        if self.axes(value) == axes && (of.per_group || region == Region::Heads) {
            return self.tile(value);
        }
        let mut map = self.map(axes, if of.per_group { region } else { Region::Heads });
        self.scalar(value, &mut map);
        self.finish_map(map, Reduce::None)
    }

    /// Stores the entering states of a forward program.
    pub(super) fn keep_entering(&mut self) {
        for i in 0..self.program.states.len() {
            let of = self.program.states[i].clone();
            let carry = self.state_carry(i);
            let axes: Vec<_> = of
                .axes(false)
                .into_iter()
                .filter(|a| *a != Axis::Head)
                .collect();
            // One read of the carry serves the program and the store.
            let read = self
                .program
                .ops
                .iter()
                .position(|op| matches!(op, Op::State(s) if s.index() == i));
            let tile = match read {
                Some(value) => self.tile(ValueId(value as u32)),
                None => self.node(tile::Op::Carry(carry), Region::Heads, &axes),
            };
            let port = self.entering(i as u32, &of);
            self.out.effect(Effect::Store(port, tile));
        }
    }
}
