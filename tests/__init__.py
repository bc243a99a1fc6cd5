"""Tests of Kanghu; the folders mirror the house."""
