"""Nowcasting: forecasts of frames that move, such as radar, with a recurrent network.

``frames`` reads one's own, ``motion`` estimates how they move, ``lagrangian`` forecasts in the
frame that moves with them, ``training`` trains, ``skill`` scores, and ``pictures`` draws. The
demo and examples/nowcast are built on it.
"""
