"""What every method goes through: folds, captions, prompts, the contract, the trainer."""
