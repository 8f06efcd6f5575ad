//! The IR, the integer arithmetic, capability documents, the planner and the backend interface.
