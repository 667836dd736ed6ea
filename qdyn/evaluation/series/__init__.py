"""Forecasters of time series: protocols, the campaign, and its page."""
