"""Django's forms in Chinese show no seconds, and saving such a form cuts them off."""

TIME_INPUT_FORMATS = ["%H:%M:%S", "%H:%M:%S.%f", "%H:%M"]
