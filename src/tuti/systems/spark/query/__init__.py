"""What is asked of the engine: expressions over columns, the plan that is a tree of steps, and its optimiser."""
