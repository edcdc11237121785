"""Fitted here and applied in `predict`: probabilities, sets, abstention, dermoscopy."""
