"""What protection did, measured by others: referees, attackers, metrics, tables and reports."""
