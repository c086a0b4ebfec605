"""What is asked of the engine: expressions over columns, the plan as a tree of steps, and its optimiser."""
