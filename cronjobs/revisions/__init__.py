"""What was declared when: revisions, the slots that they expect, and what is due."""
