"""The headings, units and decimals of everything the judges measure, under its one name."""

from __future__ import annotations

from respeak.results.table import Column

# In the order in which a table shows what its paper's columns do not have.
MEASURED = (
    Column("wer", "WER %"),
    Column("wer_difference", "WER \N{MINUS SIGN} ground truth"),
    Column("cer", "CER %"),
    Column("per", "PER %"),
    Column("digit_accuracy", "digits right %"),
    Column("digit_fid", "FID of digits", 2),
    Column("inception_score", "IS of digits", 2),
    Column("modified_inception_score", "mIS of digits", 1),
    Column("am_score", "AM of digits", 2),
    Column("vde", "VDE %"),
    Column("ffe", "FFE %"),
    Column("gpe", "GPE %"),
    Column("f0_rmse_cents", "F0 RMSE cents", 0),
    Column("f0_pcc", "F0 correlation", 3),
    Column("speaker_accuracy", "nearest speaker %"),
    Column("speaker_similarity", "speaker similarity %"),
    Column("eer", "EER %"),
    Column("genuine_eer", "EER % against genuine"),
    Column("stoi", "STOI", 3),
    Column("pesq", "PESQ", 2),
    Column("mcd", "MCD dB", 2),
    Column("utmos", "predicted MOS (UTMOS)", 2),
    Column("squim_stoi", "STOI (SQUIM)", 3),
    Column("squim_pesq", "PESQ (SQUIM)", 2),
    Column("squim_si_sdr", "SI-SDR dB (SQUIM)", 1),
    Column("dnsmos", "predicted MOS (DNSMOS)", 2),
    Column("dnsmos_signal", "DNSMOS signal", 2),
    Column("dnsmos_background", "DNSMOS background", 2),
    Column("bitrate", "bit/s", 0),
)
