"""The plan doctor: what a Spark job did, stage by stage, and what to change."""
