//! Sockets that one person holds at once: so many of a kind, and half of them by all of
//! their keys, so that a program that runs away leaves its owner, and the owner their
//! colleagues, what they need.

use super::{Problem, seldom::Seldom};
use crate::authz::Sender;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// The seats of one kind of socket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Which sockets, as people call them.
    what: &'static str,
    most: usize,
    /// Nobody is remembered who holds none.
    held: Mutex<HashMap<Uuid, Held>>,
    said: Seldom,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_keys: usize,
}

/// A seat; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    sender: Sender,
}

impl Seats {
    /// So many of such sockets for each person.
    #[must_use]
    pub fn new(what: &'static str, most: usize) -> Self {
        Self(Arc::new(Inner { what, most, held: Mutex::default(), said: Seldom::new() }))
    }

    /// A seat for one more socket.
    ///
    /// # Errors
    /// 429 when the person, or all of their keys, have as many as they may have.
    pub fn take(&self, sender: Sender) -> Result<Seat, Problem> {
        let Inner { what, most, held, said } = &*self.0;
        let (person, keys) = (sender.person, most / 2);
        let mut all_held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all_held.get(&person).map_or((0, 0), |held| (held.all, held.by_keys));
        if held.0 >= *most || (sender.by_key && held.1 >= keys) {
            if let Some(times) = said.due() {
                tracing::warn!(%person, what, open = held.0, by_keys = held.1, times,
                    "Somebody has as many sockets as one may have; another was refused.");
            }
            return Err(Problem::slow_down(format!(
                "At most {most} {what} are open for one person, {keys} of them by API keys. Close one and try again."
            )));
        }
        let held = all_held.entry(person).or_default();
        held.all += 1;
        held.by_keys += usize::from(sender.by_key);
        Ok(Seat { seats: self.clone(), sender })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all_held = self.seats.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all_held.get_mut(&self.sender.person) {
            held.all -= 1;
            held.by_keys -= usize::from(self.sender.by_key);
            if held.all == 0 {
                all_held.remove(&self.sender.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_person_has_so_many_sockets_and_leaves_others_theirs() {
        let person = |by_key| Sender { person: Uuid::now_v7(), by_key };
        let (seats, busy) = (Seats::new("sockets", 32), person(false));
        let held: Vec<Seat> = (0..100).filter_map(|_| seats.take(busy).ok()).collect();
        assert_eq!(held.len(), 32);
        assert_eq!(seats.take(busy).unwrap_err().status, 429);
        assert!(seats.take(person(true)).is_ok());
        drop(held);
        let key = Sender { by_key: true, ..busy };
        let held: Vec<Seat> = (0..100).filter_map(|_| seats.take(key).ok()).collect();
        assert_eq!(held.len(), 16);
        assert!(seats.take(busy).is_ok(), "keys leave the console its half");
        drop(held);
        assert!(seats.0.held.lock().unwrap().is_empty(), "all is given back");
    }
}
