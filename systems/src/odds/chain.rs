//! Absorbing chains, solved exactly: strongly connected parts in reverse topological order, each by elimination.
//!
//! A part is one state for nearly every bet (progress only grows), or a few where the puck comes and goes without
//! progress. States whose weighted successors are the same are solved once.

use std::hash::{BuildHasherDefault, DefaultHasher};

use engine::dice::ROLLS;
use engine::{Dice, Puck, Spot};
use hashbrown::HashMap;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use crate::catalogue::{CompiledMove, ignores_puck, step, tiers};

/// Where a chain ends: the probability of each tier, and the expected rolls until then.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Absorbed {
    /// By tier of the bet's family.
    pub tiers: Vec<BigRational>,
    /// Expected rolls.
    pub rolls: BigRational,
}

impl Default for Absorbed {
    fn default() -> Self {
        Self { tiers: Vec::new(), rolls: BigRational::zero() }
    }
}

impl Absorbed {
    fn nowhere(tiers: usize) -> Self {
        Self { tiers: vec![BigRational::zero(); tiers], rolls: BigRational::zero() }
    }

    /// Adds another, weighted.
    pub fn add(&mut self, other: &Self, weight: &BigRational) {
        self.tiers.resize(self.tiers.len().max(other.tiers.len()), BigRational::zero());
        for (sum, p) in self.tiers.iter_mut().zip(&other.tiers) {
            if !p.is_zero() {
                *sum += p * weight;
            }
        }
        self.rolls += &other.rolls * weight;
    }

    fn scale(&mut self, by: &BigRational) {
        self.tiers.iter_mut().filter(|p| !p.is_zero()).for_each(|p| *p *= by);
        self.rolls *= by;
    }
}

/// A map that is never walked, with a hash that is the same in every process.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A state: the puck (fixed where the automaton does not look at it), where the bet lies, what it has counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct State {
    /// The puck before the roll.
    pub puck: Puck,
    /// Where the bet lies.
    pub spot: Spot,
    /// What the bet has counted, as its automaton numbers it.
    pub progress: u16,
}

/// Where a roll leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum To {
    State(usize),
    Tier(u16),
}

/// A solved successor: a class of states that end alike, or a tier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Solved {
    Class(usize),
    Tier(u16),
}

/// Rolls out of 36.
type Ways = u32;

/// Solves the chain of a bet on `spot` that starts with the puck at `puck`.
pub fn solve(puck: Puck, spot: Spot) -> Absorbed {
    let (_, graph) = explore(State { puck, spot, progress: 0 });
    let mut solver = Solver::of(&graph, spot);
    solver.classes.swap_remove(solver.class_of[0])
}

/// Solves the chain of a bet from a state on: the state itself first, and every one that can be reached from it.
pub fn solve_from(first: State) -> Vec<(State, Absorbed)> {
    let (states, graph) = explore(first);
    let solver = Solver::of(&graph, first.spot);
    assert_eq!(states.len(), solver.class_of.len(), "every state has its class");
    states.into_iter().zip(&solver.class_of).map(|(state, class)| (state, solver.classes[*class].clone())).collect()
}

/// All states that can be reached from the first, the first itself among them, with their successors.
fn explore(first: State) -> (Vec<State>, Vec<Vec<(To, Ways)>>) {
    let mut index = Map::from_iter([(first, 0)]);
    let mut states = vec![first];
    let mut graph: Vec<Vec<(To, Ways)>> = Vec::new();
    while graph.len() < states.len() {
        let state = states[graph.len()];
        let mut successors: Vec<(To, Ways)> = Vec::new();
        for dice in (0..ROLLS).map(Dice::from_roll_index) {
            // Where the puck does not matter it stays fixed: seven times as many states would say the same.
            let puck = if ignores_puck(state.spot) { state.puck } else { state.puck.roll(dice).1 };
            let mut follow = |spot, progress| {
                let next = State { puck, spot, progress };
                To::State(*index.entry(next).or_insert_with(|| {
                    states.push(next);
                    states.len() - 1
                }))
            };
            let to = match step(state.spot, state.progress, state.puck, dice) {
                CompiledMove::Stay => follow(state.spot, state.progress),
                CompiledMove::Advance(progress) => follow(state.spot, progress),
                CompiledMove::Travel(spot) => follow(spot, 0),
                CompiledMove::End(tier) => To::Tier(tier),
            };
            match successors.iter_mut().find(|(known, _)| *known == to) {
                Some((_, ways)) => *ways += dice.ways(),
                None => successors.push((to, dice.ways())),
            }
        }
        assert_eq!(successors.iter().map(|(_, ways)| ways).sum::<Ways>(), 36, "each of 36 rolls leads somewhere");
        graph.push(successors);
    }
    assert_eq!(index.len(), states.len(), "every state is known once");
    (states, graph)
}

/// The strongly connected parts, each before any that leads to it (Tarjan 1972, with the call stack written out).
fn parts(graph: &[Vec<(To, Ways)>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let (mut order, mut low, mut on_stack) =
        (vec![UNSEEN; graph.len()], vec![0; graph.len()], vec![false; graph.len()]);
    let (mut stack, mut calls, mut parts, mut next) = (Vec::new(), vec![(0usize, 0usize)], Vec::new(), 0);
    while let Some((state, edge)) = calls.pop() {
        if edge == 0 {
            (order[state], low[state], on_stack[state]) = (next, next, true);
            stack.push(state);
            next += 1;
        } else if let To::State(child) = graph[state][edge - 1].0
            && on_stack[child]
        {
            low[state] = low[state].min(low[child]);
        }
        let rest =
            graph[state][edge..].iter().position(|(to, _)| matches!(to, To::State(child) if order[*child] == UNSEEN));
        for (to, _) in &graph[state][edge..edge + rest.unwrap_or(graph[state].len() - edge)] {
            if let To::State(child) = *to
                && on_stack[child]
            {
                low[state] = low[state].min(order[child]);
            }
        }
        if let Some(skip) = rest {
            let To::State(child) = graph[state][edge + skip].0 else { unreachable!("an unseen child is a state") };
            calls.push((state, edge + skip + 1));
            calls.push((child, 0));
        } else if low[state] == order[state] {
            let start =
                stack.iter().rposition(|member| *member == state).expect("a part's first state is on the stack");
            let part = stack.split_off(start);
            part.iter().for_each(|member| on_stack[*member] = false);
            parts.push(part);
        }
    }
    assert!(stack.is_empty(), "every state that was reached is in a part");
    assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), graph.len(), "every state is in one part");
    parts
}

struct Solver<'a> {
    graph: &'a [Vec<(To, Ways)>],
    tiers: usize,
    class_of: Vec<usize>,
    classes: Vec<Absorbed>,
    by_value: Map<Absorbed, usize>,
    by_successors: Map<Vec<(Solved, Ways)>, usize>,
}

impl<'a> Solver<'a> {
    /// Solves all of a graph, whose states are those of a bet on `spot`.
    fn of(graph: &'a [Vec<(To, Ways)>], spot: Spot) -> Self {
        let (by_value, by_successors) = (Map::default(), Map::default());
        let (tiers, class_of) = (tiers(spot), vec![usize::MAX; graph.len()]);
        let mut solver = Self { graph, tiers, class_of, classes: Vec::new(), by_value, by_successors };
        parts(graph).iter().for_each(|part| solver.solve_part(part));
        let first: BigRational = solver.classes[solver.class_of[0]].tiers.iter().sum();
        assert!(first.is_one(), "a bet ends at one of its tiers, sooner or later");
        assert!(solver.class_of.iter().all(|class| *class < solver.classes.len()), "every state is solved");
        assert!(solver.classes.iter().all(|class| class.rolls >= BigRational::one()), "a bet is decided by a roll");
        solver
    }

    fn class(&mut self, value: Absorbed) -> usize {
        *self.by_value.entry(value).or_insert_with_key(|value| {
            self.classes.push(value.clone());
            self.classes.len() - 1
        })
    }

    /// The successors outside a part, by class.
    fn outside(&self, state: usize, part: &[usize]) -> Vec<(Solved, Ways)> {
        let mut outside: Vec<(Solved, Ways)> = Vec::new();
        for (to, ways) in &self.graph[state] {
            let solved = match *to {
                To::State(next) if part.contains(&next) => continue,
                To::State(next) => {
                    assert!(self.class_of[next] < self.classes.len(), "a part is solved after those that it leads to");
                    Solved::Class(self.class_of[next])
                }
                To::Tier(tier) => Solved::Tier(tier),
            };
            match outside.iter_mut().find(|(known, _)| *known == solved) {
                Some((_, sum)) => *sum += ways,
                None => outside.push((solved, *ways)),
            }
        }
        // In one order, so that states which lead to the same are found under the same key.
        outside.sort_unstable();
        outside
    }

    /// What a state's successors outside its part contribute, out of 36; a roll counts one.
    fn contribution(&self, outside: &[(Solved, Ways)]) -> Absorbed {
        let mut sum = Absorbed::nowhere(self.tiers);
        for (to, ways) in outside {
            let weight = BigRational::from_integer(BigInt::from(*ways));
            match to {
                Solved::Tier(tier) => sum.tiers[usize::from(*tier)] += weight,
                Solved::Class(class) => sum.add(&self.classes[*class], &weight),
            }
        }
        sum.rolls += BigRational::from_integer(BigInt::from(36));
        sum
    }

    fn solve_part(&mut self, part: &[usize]) {
        if let [state] = *part {
            // Rolls that leave a state as it is only make it last longer: the others are weighed among themselves.
            let outside = self.outside(state, part);
            let class = match self.by_successors.get(&outside) {
                Some(class) => *class,
                None => {
                    let leaving: Ways = outside.iter().map(|(_, ways)| ways).sum();
                    assert!(leaving > 0, "no state is left by no roll");
                    assert!(leaving <= 36, "there are 36 rolls");
                    let mut value = self.contribution(&outside);
                    value.scale(&BigRational::new(BigInt::one(), BigInt::from(leaving)));
                    let class = self.class(value);
                    self.by_successors.insert(outside, class);
                    class
                }
            };
            self.class_of[state] = class;
            return;
        }
        // 36 x = contribution + sum over the part of ways * x: eliminated one state after another.
        let size = part.len();
        let mut matrix = vec![vec![BigRational::zero(); size]; size];
        let mut right: Vec<Absorbed> = Vec::with_capacity(size);
        for (row, state) in part.iter().enumerate() {
            matrix[row][row] = BigRational::from_integer(BigInt::from(36));
            for (to, ways) in &self.graph[*state] {
                if let Some(column) = part.iter().position(|member| To::State(*member) == *to) {
                    matrix[row][column] -= BigRational::from_integer(BigInt::from(*ways));
                }
            }
            right.push(self.contribution(&self.outside(*state, part)));
        }
        for pivot in 0..size {
            assert!(!matrix[pivot][pivot].is_zero(), "a part that some rolls leave has one solution");
            let inverse = matrix[pivot][pivot].recip();
            matrix[pivot].iter_mut().for_each(|cell| *cell *= &inverse);
            right[pivot].scale(&inverse);
            for row in (0..size).filter(|row| *row != pivot) {
                if matrix[row][pivot].is_zero() {
                    continue;
                }
                let factor = -matrix[row][pivot].clone();
                let pivot_row = matrix[pivot].clone();
                for (cell, above) in matrix[row].iter_mut().zip(&pivot_row) {
                    *cell += above * &factor;
                }
                let source = right[pivot].clone();
                right[row].add(&source, &factor);
            }
        }
        for (state, value) in part.iter().zip(right) {
            self.class_of[*state] = self.class(value);
        }
    }
}
