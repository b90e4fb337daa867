"""The figures of the console's first page (经营数据): daily sums, and pictures of them.

rows.py sums one day's rows, sums.py keeps the sums, period.py reads them, pictures.py lists the
pictures, drawing.py draws them. docs/figures.md defines every figure.
"""
