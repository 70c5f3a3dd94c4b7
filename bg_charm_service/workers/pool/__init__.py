"""The supervisor's side of the workers: started, given runs, watched, ended, replaced."""
