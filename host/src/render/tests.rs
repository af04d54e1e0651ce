//! What goes into the templates.
