"""Forecasts (拼团测算): a campaign simulated before its launch, and compared with what happened."""
