"""Forecasters of time series: encoders, QASA, QnnFormer and QLSTM."""
