//! Graph builders, tolerances and fixtures for tests.
